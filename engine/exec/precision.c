#include "engine/exec/precision.h"

#include <string.h>

static const char *const names[PRECISIONS] = {
    [PRECISION_FP32] = "fp32", [PRECISION_INT8] = "int8", [PRECISION_BF16] = "bf16"};

const char *precision_name(enum precision p)
{
    return names[p];
}

bool precision_find(const char *word, enum precision *out, bool *automatic)
{
    *automatic = !word || strcmp(word, "auto") == 0;
    *out = PRECISION_FP32;
    for (unsigned p = 0; p < PRECISIONS && !*automatic; p++) {
        if (strcmp(word, names[p]) == 0) {
            *out = (enum precision)p;
            return true;
        }
    }
    return *automatic;
}
