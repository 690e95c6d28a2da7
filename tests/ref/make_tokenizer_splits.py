#!/usr/bin/env python3
"""Writes tests/model/test_tokenizer_splits.h: how each pre-tokenizer cuts tricky strings.

usage: make_tokenizer_splits.py > tests/model/test_tokenizer_splits.h
needs: pip install regex tokenizers

Two engines that share no code with weft or with each other must agree on every string: the PyPI package `regex`, and
Oniguruma as bound by Hugging Face's `tokenizers`.
"""
import sys

import regex
from tokenizers import Regex, pre_tokenizers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PASSES = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}
TEXTS = [
    "Hello world",
    " Hello  world   again ",
    "\n\nTwo\n\n\nlines \n x",
    "a\r\nb\r\n\r\n c\r",
    "tabs\t\tand \t spaces\t",
    "   ",
    " ",
    "\n",
    "x   \n   y",
    "I'm, you're; we'll they've he'd it's can't",
    "I'M YOU'RE WE'LL THEY'VE HE'D IT'S CAN'T 'S'x",
    "rock'n'roll o'clock '''quoted'''",
    "1 12 123 1234 12345 1234567",
    "a1b22c333 v1.2.3-rc4 0x1F 3,141.59",
    " 1 2  3   4",
    "$5 + $6 <= $11; a^b ~c |d| #e @f %g &h *i",
    "!!!??? ...\n\n---\r\n(end)\n",
    "{\n  \"key\": [1, 2],\n\t'x': null\n}",
    "https://example.org/a?b=c&d=1#e_f",
    "snake_case CamelCase kebab-case",
    "na\u00efve caf\u00e9 \u00dcber stra\u00dfe \u0130stanbul",
    "e\u0301 combining o\u0308\u0304x",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u6771\u4eac2024\u5e74",
    "\u3053\u3093\u306b\u3061\u306f\u3000\u4e16\u754c \ud55c\uad6d\uc5b4 \uae00",
    "\u0645\u0631\u062d\u0628\u0627 \u0661\u0662\u0663\u0664 \u05e9\u05dc\u05d5\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0967\u0968\u0969 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 ok\U0001f44d\U0001f3fd",
    "\u00b2\u00b3 \u00bd\u2167\u2460 \u0bef x\u2082",
    "nbsp\u00a0here\u2003em\u2009thin\u202fnarrow\u3000wide\u2028line\u2029para\u0085nel",
    "mvs\u180ehere zwsp\u200bhere bom\ufeffhere",
    "ctl\x01\x1b[31m\x7f \x1c\x1d del",
    "\u201ccurly\u201d \u2018it\u2019s\u2019 \u2014 dash \u2026 \u20ac5 \u00a310 \u00ab\u00bb",
    "\U00010400\U00010428 \U0001d400\U0001d7d8 \U00020000",
]


def split_regex(passes, text):
    pieces = [text]
    for pattern in passes:
        compiled, cut = regex.compile(pattern), []
        for piece in pieces:
            at = 0
            for m in compiled.finditer(piece):
                cut += [piece[at : m.start()], m.group()]
                at = m.end()
            cut.append(piece[at:])
        pieces = [p for p in cut if p]
    return pieces


def split_oniguruma(passes, text):
    chain = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in passes])
    return [piece for piece, _ in chain.pre_tokenize_str(text)]


def c_string(text):
    out = ""
    for byte in text.encode():
        plain = 0x20 <= byte < 0x7F and chr(byte) not in '"\\?'
        out += chr(byte) if plain else "\\%03o" % byte
    return '"' + out + '"'


def main():
    print("/* Made by tests/ref/make_tokenizer_splits.py, from two regular-expression engines that agree. Do not edit. */")
    print("/* clang-format off */")
    print("static const struct split_case {\n    const char *pre;\n    const char *pieces[64]; /* the text is these, joined */")
    print("} split_cases[] = {")
    for name, passes in PASSES.items():
        for text in TEXTS:
            pieces = split_regex(passes, text)
            other = split_oniguruma(passes, text)
            if pieces != other:
                sys.exit(f"{name}: {text!r}: regex {pieces}, Oniguruma {other}")
            assert len(pieces) < 64
            print(f'    {{"{name}", {{' + ", ".join(map(c_string, pieces)) + "}},")
    print("};")


if __name__ == "__main__":
    main()
