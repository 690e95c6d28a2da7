/*
 * The GGUF reader: what it reads from a sound file, and each malformed one refused with field, value and limit.
 *
 * Every refusal starts from the same sound file, spoiled in one way. The bytes are parsed from a block of
 * exactly their size, so that under AddressSanitizer a read beyond the end is caught.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/gguf_refuse.h"
#include "tests/support/err_check.h"
#include "tests/support/gguf_build.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))

/* 24 bytes of header, then this key: its length at 24, its name at 32, its type at 39, its value's length at 43. */
static const char first_key[] = "a.first";
enum { KEY_LENGTH_AT = 24, VALUE_LENGTH_AT = 24 + 8 + sizeof first_key - 1 + 4 };

static void build_sound(struct gguf_build *b)
{
    static const char *const words[] = {"one", "", "three"};
    gguf_build_init(b);
    gguf_build_str(b, first_key, "value");
    gguf_build_u32(b, "n.u32", 7);
    gguf_build_i32(b, "n.i32", -7);
    gguf_build_u64(b, "n.u64", 1ull << 40);
    gguf_build_f32(b, "n.f32", 0.5f);
    gguf_build_bool(b, "n.bool", true);
    gguf_build_strings(b, "list", words, N_OF(words));
    gguf_build_array(b, "numbers", GGUF_U16, 2, "\x01\x00\x00\x01", 4);
    gguf_build_tensor(b, "first", QUANT_F32, 2, (const uint64_t[]){8, 2}, NULL, 64);
    gguf_build_tensor(b, "second", QUANT_Q8_0, 2, (const uint64_t[]){32, 3}, NULL, 102);
    gguf_build_tensor(b, "third", QUANT_F16, 1, (const uint64_t[]){5}, "0123456789", 10);
}

/* Parses a copy of the bytes that is as long as they are; the copy is returned in *copy (free). */
static enum weft_rc parse_copy(const struct buf *bytes, void **copy, struct gguf **g, struct weft_err *err)
{
    *copy = malloc(bytes->len ? bytes->len : 1);
    assert_non_null(*copy);
    if (bytes->len)
        memcpy(*copy, bytes->data, bytes->len);
    return gguf_parse(*copy, bytes->len, "test.gguf", g, err);
}

static void poke_u64(struct buf *bytes, size_t at, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        bytes->data[at + (size_t)i] = (char)(v >> (8 * i) & 0xff);
}

/* How each malformed file differs from the sound one: a line each. */
/* clang-format off */
static void magic_wrong(struct gguf_build *b) { memcpy(b->magic, "GGML", 4); }
static void version_0(struct gguf_build *b) { b->version = 0; }
static void version_1(struct gguf_build *b) { b->version = 1; }
static void version_4(struct gguf_build *b) { b->version = 4; }
static void big_endian(struct gguf_build *b) { b->version = 3u << 24; }
static void tensor_count_negative(struct gguf_build *b) { b->claim_tensors = -2; }
static void tensor_count_large(struct gguf_build *b) { b->claim_tensors = 1 << 20; }
static void kv_count_negative(struct gguf_build *b) { b->claim_kv = INT64_MIN; }
static void kv_count_large(struct gguf_build *b) { b->claim_kv = 1 << 20; }
static void key_empty(struct gguf_build *b) { gguf_build_append_kv(b, "", 0, GGUF_U8, "", 1); }
static void key_with_nul(struct gguf_build *b) { gguf_build_append_kv(b, "x\0y", 3, GGUF_U8, "", 1); }
static void key_duplicate(struct gguf_build *b) { gguf_build_append_kv(b, "n.u32", 5, GGUF_U32, "\1\0\0", 4); }
static void key_hostile_duplicate(struct gguf_build *b)
{
    gguf_build_append_kv(b, "x\x1b[2J\xff", 6, GGUF_U8, "", 1);
    gguf_build_append_kv(b, "x\x1b[2J\xff", 6, GGUF_U8, "", 1);
}
static void kv_type_unknown(struct gguf_build *b) { gguf_build_value(b, "n.u32", 13, "", 1); }
static void kv_type_huge(struct gguf_build *b) { gguf_build_value(b, "n.u32", UINT32_MAX, "", 1); }
static void array_of_arrays(struct gguf_build *b) { gguf_build_array(b, "list", GGUF_ARRAY, 1, "", 1); }
static void array_type_unknown(struct gguf_build *b) { gguf_build_array(b, "list", 99, 1, "", 1); }
static void array_long(struct gguf_build *b) { gguf_build_array(b, "list", GGUF_U32, 1 << 20, "", 0); }
static void array_huge(struct gguf_build *b) { gguf_build_array(b, "list", GGUF_U64, 1ull << 61, "", 0); }
static void array_negative(struct gguf_build *b) { gguf_build_array(b, "list", GGUF_U8, UINT64_MAX, "", 0); }
static void strings_huge(struct gguf_build *b) { gguf_build_array(b, "list", GGUF_STRING, 1ull << 61, "", 0); }
static void string_in_array_past_end(struct gguf_build *b)
{
    gguf_build_array(b, "list", GGUF_STRING, 1, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
}
static void bool_2(struct gguf_build *b) { gguf_build_value(b, "n.bool", GGUF_BOOL, "\2", 1); }
static void bool_in_array(struct gguf_build *b) { gguf_build_array(b, "list", GGUF_BOOL, 2, "\1\xff", 2); }
static void alignment_0(struct gguf_build *b) { gguf_build_u32(b, "general.alignment", 0); }
static void alignment_48(struct gguf_build *b) { gguf_build_u32(b, "general.alignment", 48); }
static void alignment_2_31(struct gguf_build *b) { gguf_build_u32(b, "general.alignment", 1u << 31); }
static void alignment_u64(struct gguf_build *b) { gguf_build_u64(b, "general.alignment", 32); }
static void alignment_i32(struct gguf_build *b) { gguf_build_i32(b, "general.alignment", -32); }
static struct gguf_build_tensor *second(struct gguf_build *b) { return gguf_build_find_tensor(b, "second"); }
static void rename_second(struct gguf_build *b, const char *name, size_t n)
{
    struct gguf_build_tensor *t = second(b);
    buf_clear(&t->name);
    buf_add(&t->name, name, n);
}
static void tensor_name_64(struct gguf_build *b)
{
    rename_second(b, "0123456789012345678901234567890123456789012345678901234567890123", 64);
}
static void tensor_name_empty(struct gguf_build *b) { buf_clear(&second(b)->name); }
static void tensor_name_with_nul(struct gguf_build *b) { rename_second(b, "first\0x", 7); }
static void tensor_duplicate(struct gguf_build *b) { rename_second(b, "first", 5); }
static void dims_0(struct gguf_build *b) { second(b)->n_dims = 0; }
static void dims_5(struct gguf_build *b) { second(b)->n_dims = 5; }
static void dims_huge(struct gguf_build *b) { second(b)->n_dims = UINT32_MAX; }
static void dim_0(struct gguf_build *b) { second(b)->dim[1] = 0; }
static void dim_negative(struct gguf_build *b) { second(b)->dim[1] = (uint64_t)-3; }
static void elements_overflow(struct gguf_build *b)
{
    struct gguf_build_tensor *t = second(b);
    t->n_dims = 3;
    t->dim[0] = t->dim[1] = t->dim[2] = 1 << 24;
}
static void f32_second(struct gguf_build *b, uint64_t values)
{
    struct gguf_build_tensor *t = second(b);
    t->type = QUANT_F32;
    t->n_dims = 1;
    t->dim[0] = values;
}
static void bytes_overflow(struct gguf_build *b) { f32_second(b, 1ull << 62); }
static void padding_overflows(struct gguf_build *b) { f32_second(b, (1ull << 62) - 1); }
static void sum_overflows(struct gguf_build *b)
{
    f32_second(b, 1ull << 61);
    struct gguf_build_tensor *t = gguf_build_find_tensor(b, "first");
    t->n_dims = 1;
    t->dim[0] = 1ull << 61;
}
static void type_removed(struct gguf_build *b) { second(b)->type = 4; }
static void type_repacked(struct gguf_build *b) { second(b)->type = 31; }
static void type_unknown(struct gguf_build *b) { second(b)->type = 1000; }
static void row_of_33(struct gguf_build *b) { second(b)->dim[0] = 33; }
static void offset_misaligned(struct gguf_build *b) { second(b)->offset = 65; }
static void offset_overlapping(struct gguf_build *b) { second(b)->offset = 32; }
static void offset_same(struct gguf_build *b) { second(b)->offset = 0; }
static void offset_past_end(struct gguf_build *b) { second(b)->offset = 1 << 20; }
static void offset_huge(struct gguf_build *b) { second(b)->offset = -32; }
static void data_short(struct gguf_build *b) { b->cut = 1; }
static void data_missing(struct gguf_build *b) { b->cut = 64 + 128 + 10; }

/* Changes that the builder can't make, in the finished bytes. */
static void key_length_huge(struct buf *f) { poke_u64(f, KEY_LENGTH_AT, UINT64_MAX); }
static void key_length_past_end(struct buf *f) { poke_u64(f, KEY_LENGTH_AT, 60000); }
static void string_past_end(struct buf *f) { poke_u64(f, VALUE_LENGTH_AT, f->len); }
static void string_negative(struct buf *f) { poke_u64(f, VALUE_LENGTH_AT, (uint64_t)-8); }

/* clang-format on */

static const struct malformed {
    const char *name;
    void (*spoil)(struct gguf_build *b);
    void (*poke)(struct buf *bytes);
    const char *field, *value, *limit; /* what the error must contain */
} malformed[] = {
    {"magic wrong", magic_wrong, NULL, "magic", "GGML", "GGUF"},
    {"version 0", version_0, NULL, "version", "0", "2 or 3"},
    {"version 1", version_1, NULL, "version", "1", "2 or 3"},
    {"version 4", version_4, NULL, "version", "4", "2 or 3"},
    {"wrong endianness", big_endian, NULL, "version", "big-endian", "little-endian"},
    {"tensor count negative", tensor_count_negative, NULL, "tensor_count", "18446744073709551614", "at most"},
    {"tensor count beyond the file", tensor_count_large, NULL, "tensor_count", "1048576", "at most"},
    {"key count negative", kv_count_negative, NULL, "metadata_kv_count", "9223372036854775808", "at most"},
    {"key count beyond the file", kv_count_large, NULL, "metadata_kv_count", "1048576", "at most"},
    {"key length huge", NULL, key_length_huge, "key", "18446744073709551615 bytes", "1 to 65535"},
    {"key past the end", NULL, key_length_past_end, "key", "60000 bytes", "the file ends at"},
    {"key empty", key_empty, NULL, "key", "0 bytes", "1 to 65535"},
    {"key with a NUL", key_with_nul, NULL, "key", "x\\x00y", "NUL"},
    {"key twice", key_duplicate, NULL, "key", "n.u32", "once"},
    {"key with an escape sequence", key_hostile_duplicate, NULL, "key", "x\\x1b[2J\\xff", "once"},
    {"key type unknown", kv_type_unknown, NULL, "n.u32", "type 13", "0 to 12"},
    {"key type huge", kv_type_huge, NULL, "n.u32", "type 4294967295", "0 to 12"},
    {"array of arrays", array_of_arrays, NULL, "list", "array of arrays", "plain values"},
    {"array of unknown type", array_type_unknown, NULL, "list", "type 99", "0 to 12"},
    {"array longer than the file", array_long, NULL, "list", "1048576 elements", "at most"},
    {"array whose size overflows", array_huge, NULL, "list", "2305843009213693952 elements", "at most"},
    {"array of negative length", array_negative, NULL, "list", "18446744073709551615 elements", "at most"},
    {"strings whose size overflows", strings_huge, NULL, "list", "2305843009213693952 elements", "at most"},
    {"string past the end", NULL, string_past_end, first_key, "bytes at offset 51", "the file ends at"},
    {"string of negative length", NULL, string_negative, first_key, "18446744073709551608 bytes",
     "the file ends at"},
    {"string in an array past the end", string_in_array_past_end, NULL, "list", "9223372036854775807 bytes",
     "the file ends at"},
    {"boolean 2", bool_2, NULL, "n.bool", "2", "0 or 1"},
    {"boolean 255 in an array", bool_in_array, NULL, "list", "255", "0 or 1"},
    {"alignment 0", alignment_0, NULL, "general.alignment", "0", "power of two"},
    {"alignment not a power of two", alignment_48, NULL, "general.alignment", "48", "power of two"},
    {"alignment 2^31", alignment_2_31, NULL, "general.alignment", "2147483648", "power of two"},
    {"alignment not u32: u64", alignment_u64, NULL, "general.alignment", "type u64", "u32"},
    {"alignment not u32: i32", alignment_i32, NULL, "general.alignment", "type i32", "u32"},
    {"tensor name of 64 bytes", tensor_name_64, NULL, "tensor name", "64 bytes", "1 to 63"},
    {"tensor name empty", tensor_name_empty, NULL, "tensor name", "0 bytes", "1 to 63"},
    {"tensor name with a NUL", tensor_name_with_nul, NULL, "tensor name", "first\\x00x", "NUL"},
    {"tensor twice", tensor_duplicate, NULL, "tensor name", "first", "once"},
    {"no dimensions", dims_0, NULL, "second", "0 dimensions", "1 to 4"},
    {"five dimensions", dims_5, NULL, "second", "5 dimensions", "1 to 4"},
    {"2^32 - 1 dimensions", dims_huge, NULL, "second", "4294967295 dimensions", "1 to 4"},
    {"dimension 0", dim_0, NULL, "second", "dimension 0", "2^63 - 1"},
    {"dimension negative", dim_negative, NULL, "second", "dimension -3", "2^63 - 1"},
    {"element count overflows", elements_overflow, NULL, "second", "overflow", "2^63 - 1"},
    {"byte size overflows", bytes_overflow, NULL, "second", "4611686018427387904 values", "2^64"},
    {"padded size overflows", padding_overflows, NULL, "second", "4611686018427387903 values", "2^64"},
    {"sum of sizes overflows", sum_overflows, NULL, "second", "9223372036854775808 bytes", "together"},
    {"weight type removed", type_removed, NULL, "second", "type 4", "removed"},
    {"weight type removed: repacked", type_repacked, NULL, "second", "type 31", "removed"},
    {"weight type unknown", type_unknown, NULL, "second", "type 1000", "unknown"},
    {"row not a multiple of its block", row_of_33, NULL, "second", "33 values", "multiple of 32"},
    {"offset misaligned", offset_misaligned, NULL, "second", "offset 65", "multiple of 32"},
    {"tensors overlapping", offset_overlapping, NULL, "second", "at 32", "overlap first"},
    {"tensors on the same bytes", offset_same, NULL, "", "at 0", "overlap"},
    {"offset past the end", offset_past_end, NULL, "second", "at 1048576", "bytes of data"},
    {"offset that overflows", offset_huge, NULL, "second", "at 18446744073709551584", "bytes of data"},
    {"data one byte short", data_short, NULL, "third", "10 bytes at 192", "201 bytes"},
    {"data absent", data_missing, NULL, "first", "64 bytes at 0", "0 bytes"},
};

static void is_refused(void **state)
{
    const struct malformed *m = *state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    build_sound(&b);
    if (m->spoil)
        m->spoil(&b);
    gguf_build_write(&b, &bytes);
    if (m->poke)
        m->poke(&bytes);
    struct gguf *g;
    void *copy;
    struct weft_err e = {0};
    assert_int_equal(parse_copy(&bytes, &copy, &g, &e), WEFT_FILE_INVALID);
    assert_null(g);
    assert_string_equal(err_context_text(&e, "path"), "test.gguf");
    assert_contains(err_context_text(&e, "field"), m->field);
    assert_contains(err_context_text(&e, "value"), m->value);
    assert_contains(err_context_text(&e, "limit"), m->limit);
    assert_contains(e.message, m->value);
    assert_contains(e.message, m->limit);
    assert_true(utf8_valid(e.message, strlen(e.message)));
    for (const char *p = e.message; *p; p++)
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
    assert_int_equal(gguf_parse(copy, bytes.len, "test.gguf", &g, NULL), WEFT_FILE_INVALID);
    free(copy);
    buf_free(&bytes);
    gguf_build_free(&b);
}

static void cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    build_sound(&b);
    gguf_build_write(&b, &bytes);
    struct gguf *g;
    void *copy;
    struct weft_err e;
    for (size_t whole = bytes.len; bytes.len-- > 0;) {
        assert_int_equal(parse_copy(&bytes, &copy, &g, &e), WEFT_FILE_INVALID);
        assert_null(g);
        assert_true(bytes.len < whole && err_context_text(&e, "value") && err_context_text(&e, "limit"));
        free(copy);
    }
    buf_free(&bytes);
    gguf_build_free(&b);
}

static void any_byte_changed_is_read_or_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    build_sound(&b);
    gguf_build_write(&b, &bytes);
    static const unsigned char changes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    size_t refused = 0;
    for (size_t at = 0; at < bytes.len; at++)
        for (size_t k = 0; k < N_OF(changes); k++) {
            char before = bytes.data[at];
            bytes.data[at] = (char)changes[k];
            struct gguf *g;
            void *copy;
            enum weft_rc rc = parse_copy(&bytes, &copy, &g, NULL);
            assert_true(rc == WEFT_OK || rc == WEFT_FILE_INVALID);
            refused += rc != WEFT_OK;
            gguf_close(g);
            free(copy);
            bytes.data[at] = before;
        }
    assert_true(refused > 300);
    buf_free(&bytes);
    gguf_build_free(&b);
}

static struct gguf *parse_built(struct gguf_build *b, void **copy)
{
    struct buf bytes = BUF_INIT;
    gguf_build_write(b, &bytes);
    gguf_build_free(b);
    struct gguf *g;
    struct weft_err e;
    if (parse_copy(&bytes, copy, &g, &e) != WEFT_OK)
        fail_msg("%s", e.message);
    buf_free(&bytes);
    return g;
}

static void a_sound_file_is_read(void **state)
{
    struct gguf_build b;
    build_sound(&b);
    b.version = (uint32_t)(uintptr_t)*state;
    void *copy;
    struct gguf *g = parse_built(&b, &copy);
    struct weft_err e;
    assert_int_equal(g->n_kv, 8);
    assert_int_equal(g->n_tensors, 3);
    assert_int_equal(g->version, (uintptr_t)*state);
    assert_int_equal(g->alignment, 32);
    struct gguf_str s;
    assert_int_equal(gguf_string(g, first_key, &s, &e), WEFT_OK);
    assert_int_equal(s.n, 5);
    assert_memory_equal(s.s, "value", 5);
    const struct gguf_kv *list = gguf_find(g, "list");
    assert_int_equal(list->n, 3);
    assert_memory_equal(list->strings[2].s, "three", list->strings[2].n);
    assert_int_equal(list->strings[1].n, 0);
    const struct gguf_kv *numbers = gguf_find(g, "numbers");
    assert_int_equal(numbers->elem_type, GGUF_U16);
    assert_int_equal(gguf_load(numbers->data + 2, 2), 256);
    assert_null(gguf_find(g, "n.u3"));
    assert_null(gguf_find(g, "n.u321"));
    const struct gguf_tensor *t = gguf_tensor(g, "second");
    assert_int_equal(t->size, 3 * 34);
    assert_int_equal(t->dim[0], 32);
    assert_int_equal(t->dim[1], 3);
    assert_int_equal(t->dim[2], 1);
    t = gguf_tensor(g, "third");
    assert_memory_equal(t->data, "0123456789", 10);
    assert_string_equal(t->name_z, "third");
    assert_null(gguf_tensor(g, "fourth"));
    gguf_close(g);
    free(copy);
}

static void integers_of_any_width_are_read(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *bytes;
        size_t n;
        uint32_t value;
    } sound[] = {{GGUF_U8, "\xff", 1, 255},
                 {GGUF_I8, "\x7f", 1, 127},
                 {GGUF_U16, "\xff\xff", 2, 65535},
                 {GGUF_I16, "\x00\x01", 2, 256},
                 {GGUF_U32, "\xff\xff\xff\xff", 4, UINT32_MAX},
                 {GGUF_I32, "\xff\xff\xff\x7f", 4, INT32_MAX},
                 {GGUF_U64, "\x2a\0\0\0\0\0\0\0", 8, 42},
                 {GGUF_I64, "\xff\xff\xff\xff\0\0\0\0", 8, UINT32_MAX}};
    for (size_t i = 0; i < N_OF(sound); i++) {
        struct gguf_build b;
        gguf_build_init(&b);
        gguf_build_value(&b, "k", sound[i].type, sound[i].bytes, sound[i].n);
        void *copy;
        struct gguf *g = parse_built(&b, &copy);
        uint32_t v;
        assert_int_equal(gguf_u32(g, "k", 1, 0, UINT32_MAX, &v, NULL), WEFT_OK);
        assert_int_equal(v, sound[i].value);
        gguf_close(g);
        free(copy);
    }
}

static void a_typed_read_names_value_and_range(void **state)
{
    (void)state;
    struct gguf_build b;
    build_sound(&b);
    gguf_build_value(&b, "n.i8", GGUF_I8, "\x80", 1);
    gguf_build_value(&b, "n.i64", GGUF_I64, "\0\0\0\0\0\0\0\x80", 8);
    gguf_build_value(&b, "n.f64", GGUF_F64, "\0\0\0\0\0\0\xf8\x3f", 8);
    void *copy;
    struct gguf *g = parse_built(&b, &copy);
    struct weft_err e;
    uint32_t v;
    static const struct {
        const char *key, *value;
    } outside[] = {{"n.u32", "7"},
                   {"n.i32", "-7"},
                   {"n.u64", "1099511627776"},
                   {"n.i8", "-128"},
                   {"n.i64", "-9223372036854775808"},
                   {"n.f32", "type f32"},
                   {"n.bool", "type bool"},
                   {"list", "type array"}};
    for (size_t i = 0; i < N_OF(outside); i++) {
        assert_int_equal(gguf_u32(g, outside[i].key, 1, 8, 512, &v, &e), WEFT_FILE_INVALID);
        assert_string_equal(err_context_text(&e, "field"), outside[i].key);
        assert_contains(err_context_text(&e, "value"), outside[i].value);
        assert_contains(err_context_text(&e, "limit"), i < 5 ? "8 to 512" : "integer");
    }
    assert_int_equal(gguf_u32(g, "absent", 99, 1, 10, &v, &e), WEFT_OK);
    assert_int_equal(v, 99);
    float f;
    assert_int_equal(gguf_f32(g, "n.f32", 1, &f, &e), WEFT_OK);
    assert_true(f == 0.5f);
    assert_int_equal(gguf_f32(g, "n.f64", 1, &f, &e), WEFT_OK);
    assert_true(f == 1.5f);
    assert_int_equal(gguf_f32(g, "absent", 2, &f, &e), WEFT_OK);
    assert_true(f == 2);
    assert_int_equal(gguf_f32(g, "n.u32", 2, &f, &e), WEFT_FILE_INVALID);
    bool flag;
    assert_int_equal(gguf_bool(g, "n.bool", false, &flag, &e), WEFT_OK);
    assert_true(flag);
    assert_int_equal(gguf_bool(g, "n.u32", false, &flag, &e), WEFT_FILE_INVALID);
    struct gguf_str s;
    assert_int_equal(gguf_string(g, "absent", &s, &e), WEFT_OK);
    assert_null(s.s);
    assert_int_equal(gguf_string(g, "list", &s, &e), WEFT_FILE_INVALID);
    gguf_close(g);
    free(copy);
}

static void a_files_own_alignment_is_used(void **state)
{
    (void)state;
    struct gguf_build b;
    build_sound(&b);
    b.alignment = 1024;
    gguf_build_u32(&b, "general.alignment", 1024);
    void *copy;
    struct gguf *g = parse_built(&b, &copy);
    assert_int_equal(gguf_tensor(g, "third")->at % 1024, 0);
    assert_memory_equal(gguf_tensor(g, "third")->data, "0123456789", 10);
    gguf_close(g);
    free(copy);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct gguf_build b;
    build_sound(&b);
    struct buf bytes = BUF_INIT;
    gguf_build_write(&b, &bytes);
    gguf_build_free(&b);
    struct gguf *g = NULL;
    size_t n = 1;
    for (enum weft_rc rc = WEFT_INTERNAL_ERROR; rc != WEFT_OK; n++) {
        struct weft_err e;
        mem_fail_at(n);
        rc = gguf_parse(bytes.data, bytes.len, "test.gguf", &g, &e);
        assert_true(rc == WEFT_OK || (rc == WEFT_INTERNAL_ERROR && !g));
    }
    mem_fail_at(0);
    assert_true(n > 8);
    gguf_close(g);
    buf_free(&bytes);
}

static void foreign_text_is_made_printable(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        const char *out;
    } cases[] = {{"plain", 5, "plain"},
                 {"\x1b]0;title\x07", 10, "\\x1b]0;title\\x07"},
                 {"caf\xc3\xa9 \xe6\x97\xa5", 9, "caf\xc3\xa9 \xe6\x97\xa5"},
                 {"\xc2\x9b"
                  "31m",
                  5, "\\xc2\\x9b31m"},
                 {"a\xe2\x80\xae"
                  "b",
                  5, "a\\xe2\\x80\\xaeb"},
                 {"cut \xe6\x97", 6, "cut \\xe6\\x97"},
                 {"\0", 1, "\\x00"},
                 {"", 0, ""}};
    for (size_t i = 0; i < N_OF(cases); i++)
        assert_string_equal(gguf_quote((struct gguf_str){cases[i].in, cases[i].n}).s, cases[i].out);
    struct gguf_text cut =
        gguf_text("%157s\xe6\x97\xa5", ""); /* 160 bytes: no room for the last one and a NUL */
    assert_int_equal(strlen(cut.s), 157);
    char big[1000];
    for (int unprintable = 0; unprintable < 2; unprintable++) {
        memset(big, unprintable ? 1 : 'x', sizeof big);
        struct gguf_text t = gguf_quote((struct gguf_str){big, sizeof big});
        assert_true(strlen(t.s) > 100 && strlen(t.s) < sizeof t.s);
        assert_string_equal(t.s + strlen(t.s) - 3, "...");
    }
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test_prestate(a_sound_file_is_read, (void *)2),
        cmocka_unit_test_prestate(a_sound_file_is_read, (void *)3),
        cmocka_unit_test(cut_at_any_byte_is_refused),
        cmocka_unit_test(any_byte_changed_is_read_or_refused),
        cmocka_unit_test(integers_of_any_width_are_read),
        cmocka_unit_test(a_typed_read_names_value_and_range),
        cmocka_unit_test(a_files_own_alignment_is_used),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(foreign_text_is_made_printable),
    };
    struct CMUnitTest refusals[N_OF(malformed)];
    for (size_t i = 0; i < N_OF(malformed); i++)
        refusals[i] = (struct CMUnitTest){malformed[i].name, is_refused, NULL, NULL, (void *)&malformed[i]};
    int failed = cmocka_run_group_tests_name("sound files", others, NULL, NULL);
    return failed + cmocka_run_group_tests_name("malformed files", refusals, NULL, NULL);
}
