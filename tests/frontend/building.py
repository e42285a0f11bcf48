"""Running compilers, CMake and what they built, and skipping with a reason where a machine lacks one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# CMake and ninja come with the development environment, whether it is activated or not.
PATH = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", os.defpath)


def need(program: str, purpose: str) -> str:
    found = shutil.which(program, path=PATH)
    if found is None:
        pytest.skip(f"no {program} on the path: install it {purpose}")
    return found


def call(*command: str | Path, **environment: str) -> str:
    """Runs a command that must succeed; gives back what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": PATH, **environment})
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cmake_build(source: Path, build: Path, *definitions: str, target: str = "all", **environment: str) -> None:
    cmake = need("cmake", "to build the C library")
    generator = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    variables = [f"-D{definition}" for definition in definitions]
    call(cmake, *generator, "-S", source, "-B", build, *variables, **environment)
    call(cmake, "--build", build, "--parallel", "2", "--target", target)


def build_and_install(folder: Path, *definitions: str) -> Path:
    """Builds and installs the library; gives back the prefix."""
    prefix = folder / "installed"
    cmake_build(ROOT, folder / "library", f"CMAKE_INSTALL_PREFIX={prefix}", *definitions)
    call(need("cmake", "to install the C library"), "--install", folder / "library")
    return prefix


def ctest(build: Path, *options: str, under: Sequence[str] = (), **environment: str) -> None:
    """Runs the tests that stand in `build`; `under` goes before the command."""
    command = [need("ctest", "to test the C library"), "--test-dir", build, "--output-on-failure", "--parallel", "2"]
    call(*under, *command, *options, **environment)


PROBES = {
    "fuzzer": b'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }',
    "any other": b"int main() {}",
}


def need_sanitizer(kinds: str, folder: Path, compiler: str | None = None) -> list[str]:
    """Skips unless programs built with -fsanitize=`kinds` run here; gives back what must go before their command.

    `compiler` is the one that CMake takes by default unless it is given.
    """
    compiler = need(compiler or os.environ.get("CXX", "c++"), f"to build with -fsanitize={kinds}")
    probe = folder / "probe"
    source = PROBES["fuzzer" if "fuzzer" in kinds else "any other"]
    command = [compiler, f"-fsanitize={kinds}", "-x", "c++", "-", "-o", probe]
    if subprocess.run(command, input=source, capture_output=True).returncode != 0:
        pytest.skip(f"{compiler} cannot link -fsanitize={kinds}: install its sanitizer libraries")
    # Some kernels place memory more at random than ThreadSanitizer can bear; setarch can ask them not to.
    setarch = shutil.which("setarch")
    for under in ([], [setarch, "-R"] if setarch else []):
        run = subprocess.run(
            [*under, probe, *(["-runs=0"] if "fuzzer" in kinds else [])], capture_output=True, text=True
        )
        if run.returncode == 0:
            return under
    pytest.skip(f"programs built with -fsanitize={kinds} do not run here: {run.stderr.strip()[:200]}")
