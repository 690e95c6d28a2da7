#include "tests/support/purity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

bool purity_matches(const char *symbol, const char *pattern)
{
    size_t n = strcspn(pattern, "*[");
    if (strncmp(symbol, pattern, n) != 0)
        return false;
    if (pattern[n] == '[')
        return symbol[n] >= 'A' && symbol[n] <= 'Z';
    return pattern[n] == '*' || symbol[n] == 0;
}

void purity_check(const char *name, const char *const *forbidden, size_t n, unsigned at_least)
{
    char command[1024], line[512], symbol[256];
    snprintf(command, sizeof command, "nm -u '%s/lib%s.a' 2>/dev/null", TEST_BINARY_DIR, name);
    FILE *nm = popen(command, "r");
    assert_non_null(nm);
    unsigned seen = 0, bad = 0;
    while (fgets(line, sizeof line, nm)) {
        if (sscanf(line, " U %255s", symbol) != 1)
            continue;
        seen++;
        symbol[strcspn(symbol, "@")] = 0;
        for (size_t i = 0; i < n; i++) {
            if (purity_matches(symbol, forbidden[i])) {
                print_error("%s uses %s\n", name, symbol);
                bad++;
            }
        }
    }
    assert_int_equal(pclose(nm), 0);
    assert_true(seen > at_least);
    assert_int_equal(bad, 0);
}
