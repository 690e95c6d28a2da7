/* libFuzzer entry: any bytes as a session file, in pieces and whole, and as an exported chat; what is read is written
 * and reads back to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/export.h"
#include "src/store_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct store_settings defaults = {
    .title = "", .system = "", .prio = PRIO_NORMAL, .sampling = SAMPLING_DEFAULT, .max_tokens = 1};

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void written_reads_back(const struct store_chat *c)
{
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct store_chat again;
    struct store_report report;
    demand(record_chat(&first, c) && store_chat_init(&again, &defaults));
    demand(store_parse(first.data, first.len, &again, &report, NULL) == WEFT_OK);
    demand(!report.damaged && !report.torn && report.good_bytes == first.len);
    demand(again.n_messages == c->n_messages && record_chat(&second, &again));
    store_chat_deinit(&again);
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_chat whole, pieces, loaded;
    struct store_report report;
    struct store_parser p;
    struct buf b = BUF_INIT;
    const char *bytes = (const char *)data;
    demand(store_chat_init(&whole, &defaults) && store_chat_init(&pieces, &defaults));
    enum weft_rc rc = store_parse(bytes, size, &whole, &report, NULL);
    demand(report.good_bytes <= size);

    enum weft_rc rc_pieces = WEFT_OK;
    store_parser_init(&p, &pieces);
    for (size_t at = 0, n; rc_pieces == WEFT_OK && at < size; at += n) {
        n = 1 + at % 7;
        n = n < size - at ? n : size - at;
        rc_pieces = store_parser_feed(&p, bytes + at, n, NULL);
    }
    if (rc_pieces == WEFT_OK)
        rc_pieces = store_parser_end(&p, NULL);
    demand(rc == rc_pieces && whole.n_messages == pieces.n_messages);
    store_parser_deinit(&p);
    if (rc == WEFT_OK)
        written_reads_back(&whole);

    if (export_parse(bytes, size, &defaults, &loaded, NULL) == WEFT_OK) {
        demand(export_chat(&loaded, EXPORT_JSON, &b) && export_chat(&loaded, EXPORT_MARKDOWN, &b));
        store_chat_deinit(&loaded);
    }
    buf_free(&b);
    store_chat_deinit(&whole);
    store_chat_deinit(&pieces);
    return 0;
}
