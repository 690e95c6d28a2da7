#!/usr/bin/env python3
"""Tests of peers.py's own parts: what counts as which step, which ratio meets what, and that one engine's end isn't all's."""
import contextlib
import io
import os
import signal
import sys
import unittest

sys.dont_write_bytecode = True
import peers  # noqa: E402


class Steps(unittest.TestCase):
    def test_prompt_and_decode_are_told_apart(self):
        watch = peers.Stopwatch(batch=2, prompt_tokens=10, gen=4)
        watch.step(1, [0, 0])  # a part of a prompt
        watch.step(1, [1, 1])  # its end: the first tokens
        for _ in range(3):
            watch.step(0.5, [1, 1])
        self.assertEqual(watch.result(), {"prefill_tps": 2 * 10 / 2, "decode_tps": 2 / 0.5})

    def test_a_step_that_does_both_counts_for_neither(self):
        watch = peers.Stopwatch(batch=2, prompt_tokens=10, gen=4)
        for seconds, made in ((1, [1, 0]), (100, [1, 1]), (0.5, [1, 1]), (0.5, [1, 1]), (100, [0, 1])):
            watch.step(seconds, made)
        self.assertEqual(watch.result(), {"prefill_tps": 20, "decode_tps": 4})

    def test_a_stream_that_ends_early_is_noticed(self):
        watch = peers.Stopwatch(batch=2, prompt_tokens=10, gen=4)
        watch.step(1, [1, 1])
        watch.step(1, [1, 0])
        with self.assertRaisesRegex(peers.Failed, "made 1 to 2 tokens a stream, not 4"):
            watch.result()


class Ratios(unittest.TestCase):
    ENGINES = {
        "weft": {"int8": [200, 220, 240]},
        "openvino": {"default": [100, 100, 100], "f32": [50, 110, 120]},
        "llamacpp": {"flash": [10, 11, 12], "plain": [None, None, None]},
    }

    def test_over_the_better_round_by_round(self):
        ratios = peers.compare(peers.Regime("decode", 8), self.ENGINES, (2, 25))
        over = ratios["over_better"]
        self.assertEqual((over["median"], over["min"], over["max"]), (2, 2, 4))
        self.assertEqual((over["of"], over["met"]), ("OpenVINO GenAI, f32", True))
        over = ratios["over_llamacpp"]
        self.assertEqual((over["median"], over["of"], over["met"]), (20, "llama.cpp, flash", False))

    def test_a_failed_round_is_left_out(self):
        engines = {"weft": {"int8": [4, None, 6]}, "llamacpp": {"flash": [1, 1, 2]}}
        over = peers.compare(peers.Regime("decode", 1), engines, None)["over_llamacpp"]
        self.assertEqual((over["median"], over["min"], over["max"]), (3.5, 3, 4))
        self.assertNotIn("met", over)

    def test_nothing_to_compare_with(self):
        self.assertEqual(peers.compare(peers.Regime("decode", 1), {"weft": {"int8": [4]}}, (2, 2)), {})
        self.assertEqual(peers.compare(peers.Regime("decode", 1), {"llamacpp": {"flash": [4]}}, (2, 2)), {})

    def test_rows(self):
        names = [regime.name for regime in peers.regimes_of([1, 16])]
        wide = f"prefill, batch 16, {peers.WIDE_STEP_TOKENS} tokens a step"
        self.assertEqual(names, ["prefill, batch 16", wide, "decode, 1 stream", "decode, 16 streams"])
        self.assertEqual(peers.regimes_of([2, 4])[0].name, "prefill, batch 4")
        for regime in peers.regimes_of([1, 8, 16, 32]):
            self.assertIn(regime, peers.TARGETS)


class Children(unittest.TestCase):
    def run_engine(self, engine):
        peers.ENGINES["test"] = engine
        self.addCleanup(peers.ENGINES.pop, "test")
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                return peers.run_alone("test", None), said.getvalue()
            except peers.Failed as failed:
                return str(failed), said.getvalue()

    def test_figures_come_back(self):
        figures, _ = self.run_engine(lambda work: iter([(1, 256, {"decode_tps": 5})]))
        self.assertEqual(figures, {(1, 256): {"decode_tps": 5}})

    def test_one_that_dies_says_so(self):
        def dies(_):
            os.write(2, b"last words\n")
            os.kill(os.getpid(), signal.SIGKILL)

        reason, said = self.run_engine(dies)
        self.assertEqual(reason, f"its process ended with status -{signal.SIGKILL.value}")
        self.assertIn("last words", said)

    def test_what_it_throws_is_told(self):
        def throws(_):
            raise ImportError("no such library")

        reason, said = self.run_engine(throws)
        self.assertEqual(reason, "ImportError: no such library")
        self.assertIn("Traceback", said)


class CommandLine(unittest.TestCase):
    def test_wrong_values_are_refused(self):
        for wrong in (["--batch", "0"], ["--batch", "1,1"], ["--batch", "x"], ["--peers", "vllm"], ["--rounds", "0"]):
            with self.subTest(wrong), contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as end:
                peers.parse(wrong)
            self.assertEqual(end.exception.code, 2)

    def test_tables(self):
        options = peers.parse(["--rounds", "3", "--model", __file__, "--weft", "/bin/true", "--peers", "llamacpp"])
        results = {peers.Regime("decode", 8): Ratios.ENGINES}
        everything = peers.report(options, results, {"llama.cpp, plain": "trapped"}, {"llamacpp": "not there"})
        with contextlib.redirect_stdout(io.StringIO()) as out:
            peers.print_report(everything)
        for part in ("220 (200–240)", "–", "2.00 (2.00–4.00)", "≥ 2: met", "20.00 (20.00–20.00)", "≥ 5: met", "trapped"):
            self.assertIn(part, out.getvalue())


if __name__ == "__main__":
    unittest.main()
