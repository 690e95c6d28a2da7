#!/usr/bin/env python3
"""Measures weft, OpenVINO GenAI and llama.cpp side by side on one model file, and prints tables of speeds and ratios.

    tests/bench/peers.py --setup            # a virtual environment with the peers; llama.cpp is built from source
    tests/bench/peers.py --json out.json    # measures (`weft bench --compare` does the same)
    tests/bench/peers.py --show out.json    # prints the tables of an earlier run again

All get the same work: B random, distinct prompts handed over at once, then B streams until each has all its tokens. Prompt
and decoding are timed apart, in the same way for all: prompt speed comes from the steps that make no token but a
stream's first, decoding speed from the steps that make one for each of the B streams; sampling is inside both. The peers
choose greedily, weft samples as in a chat, which is more work. An engine runs in a process of its own, with one warm-up of
each batch size that isn't counted, and rounds go through all engines in turn, so that what else the machine does meets all
alike. A ratio is the median of the ratios of the rounds.
"""
import argparse
import ctypes
import json
import multiprocessing
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = {"openvino": "openvino-genai", "llamacpp": "llama-cpp-python"}
PINNED = {"openvino-genai": "2026.4.1.0", "llama-cpp-python": "0.3.36"}
TITLES = {"weft": "weft", "openvino": "OpenVINO GenAI", "llamacpp": "llama.cpp"}
# What each engine is run with; a regime counts the faster. llama.cpp's own default, auto, is `flash` on CPUs.
VARIANTS = {"openvino": ["default", "f32"], "llamacpp": ["flash", "plain"]}

# llama.cpp's "native" build also takes AMX, which traps on some virtual machines: its options are named one by one.
GGML_OPTIONS = {
    "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "bmi2": "BMI2", "avx512f": "AVX512",
    "avx512vbmi": "AVX512_VBMI", "avx512_vnni": "AVX512_VNNI",
}  # fmt: skip
TOLD_FLAGS = ["avx2", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"]

# Most tokens a step: what weft and OpenVINO GenAI come with, and room for 16 whole prompts of 128.
STEP_TOKENS, WIDE_STEP_TOKENS = 256, 2048
PREFILL_BATCH = 16


@dataclass(frozen=True)
class Regime:
    """One row of the tables."""

    measure: str  # "prefill" or "decode"
    batch: int
    step_tokens: int = STEP_TOKENS

    @property
    def name(self):
        streams = f"{self.batch} stream{'s' if self.batch > 1 else ''}"
        wide = f", {self.step_tokens} tokens a step" if self.step_tokens != STEP_TOKENS else ""
        return f"prefill, batch {self.batch}{wide}" if self.measure == "prefill" else f"decode, {streams}"


# Ratios to reach with 128 prompt tokens and 64 generated: over the better of the peers, over llama.cpp.
TARGETS = {
    Regime("prefill", 16): (1.1, 8),
    Regime("prefill", 16, WIDE_STEP_TOKENS): (1.1, 8),
    Regime("decode", 1): (1.8, 1.8),
    Regime("decode", 8): (2, 5),
    Regime("decode", 16): (2, 6),
    Regime("decode", 32): (2, 8),
}
TARGETS_WORK = {"prompt": 128, "gen": 64}


class Failed(Exception):
    """One engine can't be measured; the others can."""


# ---- the engines ----


@dataclass
class Work:
    """What an engine is asked for in one process."""

    model: str
    weft: str
    variant: str
    prompt: int
    gen: int
    batches: list
    threads: int

    @property
    def jobs(self):
        """(batch, tokens to generate, tokens a step): all batches, then the prompts alone with wide steps."""
        jobs = [(b, self.gen, STEP_TOKENS) for b in self.batches]
        return jobs + [(b, 2, WIDE_STEP_TOKENS) for b in self.batches if b == PREFILL_BATCH]

    def prompts(self, batch, n_vocab):
        """Distinct with near certainty; without the lowest ids, where vocabularies keep their control tokens."""
        rng = random.Random(batch)
        return [[rng.randrange(n_vocab // 8, n_vocab) for _ in range(self.prompt)] for _ in range(batch)]


class Stopwatch:
    """Sorts the steps of one batch and sums their times."""

    def __init__(self, batch, prompt_tokens, gen):
        self.batch, self.prompt_tokens, self.gen = batch, prompt_tokens, gen
        self.made = [0] * batch
        self.prefill_s = self.decode_s = 0.0
        self.decode_steps = 0

    def step(self, seconds, new_tokens):
        """One step that took so long and made so many tokens for each stream."""
        firsts = sum(1 for made, new in zip(self.made, new_tokens) if made == 0 and new)
        if firsts == sum(new_tokens):
            self.prefill_s += seconds
        elif firsts == 0 and all(n == 1 for n in new_tokens):
            self.decode_s += seconds
            self.decode_steps += 1
        self.made = [a + b for a, b in zip(self.made, new_tokens)]

    def result(self):
        if any(made != self.gen for made in self.made):
            raise Failed(f"made {min(self.made)} to {max(self.made)} tokens a stream, not {self.gen}")
        if self.decode_steps < self.gen // 2:
            raise Failed(f"only {self.decode_steps} of {self.gen - 1} steps decoded all {self.batch} streams")
        return {
            "prefill_tps": self.batch * self.prompt_tokens / self.prefill_s,
            "decode_tps": self.batch * self.decode_steps / self.decode_s,
        }


def measure_weft(work):
    for step_tokens in dict.fromkeys(job[2] for job in work.jobs):
        jobs = [job for job in work.jobs if job[2] == step_tokens]
        command = [work.weft, "bench", "--json", "-q", "-m", work.model, "--precision", work.variant]
        command += ["--prompt", str(work.prompt), "--gen", str(jobs[0][1])]
        command += ["--batch", ",".join(str(batch) for batch, _, _ in jobs)]
        command += ["--set", f"scheduler.max_batch_tokens={step_tokens}", "--set", f"device.threads={work.threads}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise Failed(f"weft bench ended with status {done.returncode}")
        for row in json.loads(done.stdout)["rows"]:
            yield row["batch"], step_tokens, {key: row[key] for key in ("prefill_tps", "decode_tps")}


def measure_openvino(work):
    """The continuous batching pipeline, which LLMPipeline with a SchedulerConfig also runs on; step by step."""
    import numpy
    import openvino
    import openvino_genai as genai

    properties = {"INFERENCE_NUM_THREADS": work.threads}
    if work.variant != "default":
        properties["INFERENCE_PRECISION_HINT"] = work.variant

    def open_pipeline(step_tokens):
        scheduler = genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.max_num_batched_tokens = step_tokens
        scheduler.max_num_seqs = max(work.batches)
        scheduler.dynamic_split_fuse = False  # no step prefills and decodes at once, so that their times can be told apart
        scheduler.num_kv_blocks = max(work.batches) * ((work.prompt + work.gen) // 16 + 2)
        return genai.ContinuousBatchingPipeline(work.model, scheduler, "CPU", properties)

    def generate(pipeline, batch, gen):
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = gen, True, False
        prompts = work.prompts(batch, len(pipeline.get_tokenizer().get_vocab()))
        streams = [
            pipeline.add_request(i, openvino.Tensor(numpy.array([ids], dtype=numpy.int64)), config)
            for i, ids in enumerate(prompts)
        ]
        watch = Stopwatch(batch, work.prompt, gen)
        while pipeline.has_non_finished_requests():
            start = time.perf_counter()
            pipeline.step()
            seconds = time.perf_counter() - start
            watch.step(seconds, [new_tokens(stream) for stream in streams])
        return watch.result()

    def new_tokens(stream):
        return sum(len(out.generated_ids) for out in stream.read().values()) if stream.can_read() else 0

    pipeline, opened = None, None
    for batch, gen, step_tokens in work.jobs:
        if step_tokens != opened:
            pipeline, opened = open_pipeline(step_tokens), step_tokens
        generate(pipeline, batch, 4)  # each new shape is compiled when it is first met
        yield batch, step_tokens, generate(pipeline, batch, gen)


def measure_llamacpp(work):
    """The low-level interface: a batch of all streams, one llama_decode a step."""
    import llama_cpp as llama
    import numpy

    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    model_params = llama.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(work.model.encode(), model_params)
    if not model:
        raise Failed("the model can't be loaded")
    n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    def open_context(batch, gen, step_tokens):
        params = llama.llama_context_default_params()
        params.n_seq_max = batch
        params.n_ctx = batch * -(-(work.prompt + gen) // 256) * 256
        params.n_ubatch = max(params.n_ubatch, step_tokens)
        params.n_threads = params.n_threads_batch = work.threads
        params.flash_attn_type = 1 if work.variant == "flash" else 0
        context = llama.llama_init_from_model(model, params)
        if not context:
            raise Failed(f"no context for {batch} streams")
        return context, params.n_batch

    def decode(context, tokens, items):
        """One step over (id, position, stream, wanted) items; {stream: the most likely next id} of those wanted."""
        tokens.n_tokens = len(items)
        for i, (token, position, stream, wanted) in enumerate(items):
            tokens.token[i], tokens.pos[i], tokens.logits[i] = token, position, wanted
            tokens.n_seq_id[i], tokens.seq_id[i][0] = 1, stream
        if llama.llama_decode(context, tokens):
            raise Failed("llama_decode failed")
        return {
            stream: int(numpy.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (n_vocab,)).argmax())
            for i, (_, _, stream, wanted) in enumerate(items)
            if wanted
        }

    def generate(batch, prompts, gen, step_tokens):
        context, n_batch = open_context(batch, gen, step_tokens)
        tokens = llama.llama_batch_init(max(n_batch, batch), 0, 1)
        length, latest = len(prompts[0]), {}
        watch = Stopwatch(batch, length, gen)

        def step(items):
            start = time.perf_counter()
            made = decode(context, tokens, items)
            watch.step(time.perf_counter() - start, [int(stream in made) for stream in range(batch)])
            latest.update(made)

        items = [(id_, at, stream, at == length - 1) for stream, ids in enumerate(prompts) for at, id_ in enumerate(ids)]
        for first in range(0, len(items), n_batch):
            step(items[first : first + n_batch])
        for at in range(length, length + gen - 1):
            step([(latest[stream], at, stream, True) for stream in range(batch)])
        llama.llama_batch_free(tokens)
        llama.llama_free(context)
        return watch.result()

    for batch, gen, step_tokens in work.jobs:
        prompts = work.prompts(batch, n_vocab)
        generate(batch, [ids[:16] for ids in prompts], 4, step_tokens)
        yield batch, step_tokens, generate(batch, prompts, gen, step_tokens)


ENGINES = {"weft": measure_weft, "openvino": measure_openvino, "llamacpp": measure_llamacpp}


# ---- rounds ----


def child(engine, work, pipe, log):
    """In a process of its own: what an engine prints goes to `log`, its figures or its failure into the pipe."""
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)
    try:
        pipe.send([(batch, steps, figures) for batch, steps, figures in ENGINES[engine](work)])
    except Failed as reason:
        pipe.send(str(reason))
    except Exception:  # whatever a peer throws is its own failure, and is told with where it came from
        traceback.print_exc()
        pipe.send(f"{sys.exc_info()[0].__name__}: {sys.exc_info()[1]}")


def run_alone(engine, work):
    """One engine once: {(batch, tokens a step): figures}. Raises Failed."""
    fork = multiprocessing.get_context("fork")  # nothing heavy is loaded here, and a script from a pipe can't be spawned
    receiver, sender = fork.Pipe(duplex=False)
    with tempfile.TemporaryFile() as log:
        process = fork.Process(target=child, args=(engine, work, sender, log))
        process.start()
        sender.close()
        try:
            outcome = receiver.recv()
        except EOFError:  # it died
            outcome = None
        except BaseException:  # interrupted
            process.kill()
            raise
        process.join()
        if isinstance(outcome, list):
            return {(batch, steps): figures for batch, steps, figures in outcome}
        log.seek(0)
        sys.stderr.write(log.read().decode(errors="replace")[-2000:])
    raise Failed(outcome or f"its process ended with status {process.exitcode}")


def measure(options, variants):
    """All rounds: {regime: {engine: {variant: [a figure a round, None where it failed]}}}, and what failed."""
    regimes = regimes_of(options.batch)
    runs = [(engine, variant) for engine, names in variants.items() for variant in names]
    results = {r: {engine: {v: [] for v in names} for engine, names in variants.items()} for r in regimes}
    failed = {}
    for number in range(options.rounds):
        for engine, variant in runs[number % len(runs) :] + runs[: number % len(runs)]:
            tell(f"round {number + 1} of {options.rounds}: {TITLES[engine]}, {variant}")
            work = Work(
                model=options.model, weft=options.weft, variant=variant, prompt=options.prompt, gen=options.gen,
                batches=options.batch, threads=options.threads,
            )  # fmt: skip
            try:
                figures = run_alone(engine, work)
            except Failed as reason:
                failed[f"{TITLES[engine]}, {variant}"] = str(reason)
                tell(f"{TITLES[engine]}, {variant}: {reason}")
                figures = {}
            for r in regimes:
                row = figures.get((r.batch, r.step_tokens))
                results[r][engine][variant].append(row and row[f"{r.measure}_tps"])
    return results, failed


def regimes_of(batches):
    wide = [Regime("prefill", b, WIDE_STEP_TOKENS) for b in batches if b == PREFILL_BATCH]
    prefill = PREFILL_BATCH if PREFILL_BATCH in batches else max(batches)
    return [Regime("prefill", prefill)] + wide + [Regime("decode", b) for b in batches]


# ---- what comes of it ----


def known(figures):
    return [f for f in figures if f is not None]


def better(variants):
    """(variant, figures) with the highest median among {variant: figures}; None when nothing was measured."""
    measured = [(v, f) for v, f in variants.items() if known(f)]
    return max(measured, key=lambda item: statistics.median(known(item[1])), default=None)


def ratio_over(own, theirs):
    """Median and extremes of the rounds' ratios; None when no round has both."""
    ratios = [a / b for a, b in zip(own, theirs) if a is not None and b is not None]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)} if ratios else None


def compare(regime, engines, targets):
    """What a row says: weft over the better of the peers and over llama.cpp. {} without weft's figures."""
    own = better(engines.get("weft", {}))
    peers = {(e, v): f for e, variants in engines.items() if e != "weft" for v, f in variants.items()}
    if not own:
        return {}
    out = {}
    rivals = {"over_better": better(peers), "over_llamacpp": better(engines.get("llamacpp", {}))}
    for (key, rival), target in zip(rivals.items(), targets or (None, None)):
        ratio = rival and ratio_over(own[1], rival[1])
        if ratio:
            of = rival[0] if isinstance(rival[0], tuple) else ("llamacpp", rival[0])
            met = {} if target is None else {"target": target, "met": ratio["median"] >= target}
            out[key] = {"of": f"{TITLES[of[0]]}, {of[1]}", **ratio, **met}
    return out


def report(options, results, failed, skipped):
    """Everything as one JSON object."""
    with_targets = TARGETS_WORK == {"prompt": options.prompt, "gen": options.gen}
    rows = []
    for regime, engines in results.items():
        targets = TARGETS.get(regime) if with_targets else None
        row = {"name": regime.name, "measure": regime.measure, "batch": regime.batch, "step_tokens": regime.step_tokens}
        rows.append({**row, "tok_per_s": engines, "ratios": compare(regime, engines, targets)})
    return {
        "schema": 1,
        "date": time.strftime("%Y-%m-%d"),
        "model": {"file": os.path.basename(options.model), "bytes": os.path.getsize(options.model)},
        "work": {
            "prompt": options.prompt, "gen": options.gen, "rounds": options.rounds, "threads": options.threads,
        },
        "machine": machine(),
        "versions": versions(options, skipped),
        "skipped": skipped,
        "failed": failed,
        "rows": rows,
    }  # fmt: skip


def machine():
    facts = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags", "").split()
    return {
        "cpu": facts.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in TOLD_FLAGS if flag in flags],
        "kernel": platform.release(),
    }


def versions(options, skipped):
    told = subprocess.run([options.weft, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    found = {"weft": told.split("\n")[0]}
    return found | {name: metadata.version(name) for e, name in PACKAGES.items() if e in options.peers and e not in skipped}


def spread(figures, digits):
    """As in `1234 (1200–1290)`; a dash when nothing was measured."""
    figures = known(figures)
    if not figures:
        return "–"
    middle, low, high = (f"{f:.{digits}f}" for f in (statistics.median(figures), min(figures), max(figures)))
    return f"{middle} ({low}–{high})"


def print_table(rows):
    """Markdown; columns padded so that it reads well as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths]] + rows[1:]
    for row in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")


def print_report(r):
    work, told = r["work"], r["machine"]
    print(f"{r['model']['file']}, {work['prompt']} prompt tokens and {work['gen']} generated a stream; {r['date']}")
    print(f"{told['cpu']}, {told['cores']} cores, {work['threads']} threads each; {' '.join(told['flags'])}")
    print("; ".join(f"{name} {v}" if name != "weft" else v for name, v in r["versions"].items()))
    for engine, why in r["skipped"].items():
        print(f"{TITLES[engine]} skipped: {why}")
    for engine, why in r["failed"].items():
        print(f"{engine} failed: {why}")

    print(f"\ntok/s: median of {work['rounds']} rounds (lowest–highest)\n")
    columns = [(e, v) for e, variants in r["rows"][0]["tok_per_s"].items() for v in variants]
    table = [["regime"] + [f"{TITLES[e]}, {v}" for e, v in columns]]
    for row in r["rows"]:
        table.append([row["name"]] + [spread(row["tok_per_s"][e][v], 0) for e, v in columns])
    print_table(table)

    print("\nweft's ratios: median of the rounds' (lowest–highest)\n")
    table = [["regime", "over the better peer", "which is", "target", "over llama.cpp", "target"]]
    for row in r["rows"]:
        cells = [row["name"]]
        for key in ("over_better", "over_llamacpp"):
            ratio = row["ratios"].get(key)
            cells.append(f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else "–")
            if key == "over_better":
                cells.append(ratio["of"] if ratio else "–")
            met = {True: "met", False: "missed"}.get((ratio or {}).get("met"))
            cells.append(f"≥ {ratio['target']}: {met}" if met else "–")
        table.append(cells)
    print_table(table)


# ---- the environment, the command line ----


def tell(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def data_directory():
    """Where weft keeps its own, by the XDG base directory specification."""
    home = os.environ.get("XDG_DATA_HOME", "")
    return Path(home if os.path.isabs(home) else Path.home() / ".local/share") / "weft"


def set_up(directory):
    """Makes the environment, or completes it."""
    python = directory / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    ggml = ["-DGGML_NATIVE=OFF"] + [f"-DGGML_{o}={'ON' if f in flags else 'OFF'}" for f, o in GGML_OPTIONS.items()]
    environment = {**os.environ, "CMAKE_ARGS": " ".join(ggml)}
    packages = [f"{name}=={version}" for name, version in PINNED.items()]
    tell(f"installing {' and '.join(packages)} into {directory}; llama.cpp is compiled, which takes its time")
    command = [str(python), "-m", "pip", "install", "--no-cache-dir", "--no-binary", PACKAGES["llamacpp"], *packages]
    subprocess.run(command, check=True, env=environment)


def enter(directory):
    """Goes on in the environment's Python when there is one and this is another."""
    python = directory / "bin/python"
    if python.exists() and Path(sys.prefix).resolve() != directory.resolve() and os.path.isfile(sys.argv[0]):
        os.execv(python, [str(python), *sys.argv])


def missing(engine, directory):
    """Why a peer can't be measured, or None."""
    try:
        metadata.version(PACKAGES[engine])
        return None
    except metadata.PackageNotFoundError:
        return f"{PACKAGES[engine]} isn't installed: tests/bench/peers.py --setup {directory}"


def numbers(text):
    values = [int(part) for part in text.split(",")]
    if not values or min(values) < 1 or len(set(values)) != len(values):
        raise ValueError(text)
    return values


def engines_of(text):
    names = [name for name in text.split(",") if name]
    if not set(names) <= set(PACKAGES):
        raise ValueError(text)
    return names


def parse(arguments):
    data, cores = data_directory(), len(os.sched_getaffinity(0))
    model = data / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
    parser = argparse.ArgumentParser(prog="peers.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--weft", default="build/release/weft", metavar="PATH", help="the program; %(default)s if not given")
    add("--model", default=str(model), metavar="PATH", help="a GGUF file; the default model if not given")
    add("--precision", default="auto", metavar="LIST", help="weft's: auto, bf16, int8, fp32; %(default)s if not given")
    add("--peers", type=engines_of, default=list(PACKAGES), metavar="LIST", help=f"of {','.join(PACKAGES)}; all if not given")
    add("--rounds", type=int, default=5, metavar="N", help="times that each is measured; %(default)s if not given")
    add("--batch", type=numbers, default=[1, 8, 16, 32], metavar="LIST", help="streams; 1,8,16,32 if not given")
    add("--prompt", type=int, default=128, metavar="N", help="tokens of each prompt; %(default)s if not given")
    add("--gen", type=int, default=64, metavar="N", help="tokens to generate; %(default)s if not given")
    add("--threads", type=int, default=cores, metavar="N", help="threads of each engine; all cores if not given")
    add("--json", metavar="FILE", help="write everything there too; - instead of the tables, to standard output")
    add("--env", type=Path, default=data / "peers", metavar="DIR", help="the peers' environment; %(default)s if not given")
    add("--setup", type=Path, nargs="?", const=data / "peers", metavar="DIR", help="make that environment, and end")
    add("--show", metavar="FILE", help="print the tables of an earlier --json FILE, and end")
    options = parser.parse_args(arguments)
    for name, least in (("rounds", 1), ("prompt", 16), ("gen", 4), ("threads", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name}: {getattr(options, name)} is below {least}")
    return options


def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    options = parse(sys.argv[1:])
    if options.show:
        print_report(json.loads(Path(options.show).read_text(encoding="utf-8")))
        return 0
    if options.setup:
        set_up(options.setup)
        return 0
    enter(options.env)
    for path in (options.weft, options.model):
        if not os.path.isfile(path):
            tell(f"{path} isn't there")
            return 2
    reasons = {engine: missing(engine, options.env) for engine in options.peers}
    skipped = {engine: why for engine, why in reasons.items() if why}
    for engine, why in skipped.items():
        tell(f"{TITLES[engine]} skipped: {why}")
    variants = {"weft": options.precision.split(",")}
    variants |= {engine: VARIANTS[engine] for engine in options.peers if engine not in skipped}
    results, failed = measure(options, variants)
    everything = report(options, results, failed, skipped)
    if options.json and options.json != "-":
        Path(options.json).write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    if options.json == "-":
        print(json.dumps(everything))
    else:
        print_report(everything)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
