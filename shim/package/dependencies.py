"""What a function needs besides its executable: `shim` itself, the packages that it needs, for the right Python, and a handler that is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shim.package.function import NATIVE, target_for
from shim.package.ground import error, warning
from shim.package.targets import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.package.ground import Ground
    from shim.package.problem import Problem

WRAPPER = "shim/runtime/wrapper"
"""The file to which AWS_LAMBDA_EXEC_WRAPPER leads."""
OF_SHIM = re.compile(r"(shim|orjson|psutil|h11)/|shim\.toml$")
"""Files without which `shim` does not start."""
HANDLER = "shim.handler"
LIBRARIES = {
    name: re.compile(rf"{name}/{module}(\.cpython-3\d+-(x86_64|aarch64)-linux-gnu|\.abi3)?\.so")
    for name, module in (("orjson", "orjson"), ("psutil", "_psutil_linux"))
}
"""The library of a package without which it can't be imported, as Python on Lambda looks for it: not one for macOS, Windows or musl, nor one for a Python
without a GIL (cpython-313t)."""
LIBRARY_OF_ANY = re.compile(r"[^/]+/[^/]+\.(so|pyd|dylib|dll)$")


def judge_dependencies(ground: Ground) -> Iterator[Problem]:
    """What is missing beside `shim`, or is for another Python."""
    function = ground.function
    if not function.uses_shim:
        return
    if not _has_package(ground, "shim"):
        sentence = "shim.toml is there, and shim itself is not"
        yield warning("shim.toml", sentence, "package it, as shim pack does, unless a layer has it")
    else:
        yield from _judge_packages(ground)
    for name in ("shim", "orjson", "psutil"):
        if ground.root.at(f"{name}.py") is not None and not _has_package(ground, name):
            yield error(f"{name}.py", f"it is imported in place of the package {name}", "give it another name")
    wrapper = ground.root.at(WRAPPER)
    if wrapper is not None and wrapper.mode & 0o777 and not wrapper.mode & 0o001:
        sentence = "it is not executable for Lambda's user, so that our own runtime does not start"
        yield error(WRAPPER, sentence, "chmod 755 it and package it again")
    yield from _judge_python(ground)


def _judge_packages(ground: Ground) -> Iterator[Problem]:
    settings = ground.function.settings
    needs = {"orjson": "shim needs"}
    if settings is not None and settings.mode == "bootstrap":
        needs["h11"] = "mode=bootstrap needs"
    if settings is not None and settings.max_rss_bytes is not None:
        needs["psutil"] = "max_rss_bytes needs"
    for name, why in needs.items():
        if not _has_package(ground, name):
            sentence = f"the package {name}, which {why}, is not there"
            yield error("", sentence, f"package it, as shim pack does, or with pip install --target PACKAGE {name}")
        elif not _can_be_imported(name, ground):
            from shim.package.wheels import MACHINES  # noqa: PLC0415 - it loads what a good package does not need

            found = sorted(
                other for other, _ in ground.root if LIBRARY_OF_ANY.match(other) and other.startswith(f"{name}/")
            )
            has = f"has {found[0]}, which Python on Lambda passes over" if found else "has no library at all"
            sentence = f"the package {name}, which {why}, can't be imported: it {has}"
            machine = MACHINES.get(ground.architecture or "", "x86_64")
            cure = f"pip install --target PACKAGE --only-binary=:all: --platform manylinux2014_{machine} {name}"
            yield error(name, sentence, f"package the one for Linux and glibc, as shim pack does, or with {cure}")


def _judge_python(ground: Ground) -> Iterator[Problem]:
    """Modules for one Python only must all be for the same, one that a runtime of the target has."""
    python = ground.function.python
    if python is None:
        return
    runtime = f"python{python}"
    if runtime not in RUNTIMES:
        sentence = f"it is built for Python {python}, and shim runs on {_names()}"
        yield error("orjson", sentence, "install the wheel for the function's Python (pip's --python-version)")
    elif RUNTIMES[runtime] is not ground.target:
        sentence = f"it is built for Python {python}, whose runtime is on {target_for(python).name}, not on {ground.target.name}"
        cure = f"check it with --target {target_for(python).name}, or install the wheel for the function's Python (pip's --python-version)"
        yield error("orjson", sentence, cure)
    for name, _ in ground.root:
        found = NATIVE.search(name)
        if found is not None and f"3.{found[1]}" != python and not _has_for(ground, name, python):
            sentence = f"it is built for Python 3.{found[1]}, and orjson for {python}"
            yield warning(name, sentence, "install all packages for the same Python (pip's --python-version)")


def _has_for(ground: Ground, name: str, python: str) -> bool:
    """Whether the same module is there for the right Python, too."""
    module = NATIVE.sub("", name)
    wanted = f"{module}.cpython-{python.replace('.', '')}-"
    return any(other.startswith((wanted, f"{module}.abi3.")) for other, _ in ground.root)


def _names() -> str:
    return ", ".join(name.removeprefix("python") for name in RUNTIMES if name.startswith("python"))


def judge_handler(handler: str, ground: Ground) -> Iterator[Problem]:
    """The handler that the function is given: MODULE.NAME, as awslambdaric imports it. An OS-only runtime takes any."""
    if ground.function.is_custom:
        return
    module, dot, attribute = handler.rpartition(".")
    if not dot or not module or not attribute.isidentifier():
        sentence = f"{handler!r} is no handler of a Python runtime, which is MODULE.NAME"
        yield error("handler", sentence, f"let it be {HANDLER}")
        return
    path = module.replace(".", "/")
    if module == "shim":
        if attribute != "handler":
            yield error("handler", f"shim has no handler of the name {attribute!r}", f"let it be {HANDLER}")
        elif not ground.function.uses_shim:
            yield error("handler", "shim is not in the package", "package it, as shim pack does, unless a layer has it")
    elif not _has_module(ground, path):
        sentence = f"there is no module {module!r} in the package, which the handler {handler!r} names"
        yield error("handler", sentence, f"package {path}.py, or let the handler be {HANDLER}")


def _has_module(ground: Ground, module: str) -> bool:
    """Whether Python would find a module, by its path without an ending."""
    names = (f"{module}.py", f"{module}/__init__.py")
    if any(ground.root.at(name) is not None for name in names):
        return True
    return any(name.startswith(f"{module}.") and name.endswith(".so") for name, _ in ground.root)


def _can_be_imported(name: str, ground: Ground) -> bool:
    """Whether its library is there; one that has no code at all needs none."""
    code = ground.root.at(f"{name}/__init__.py")
    if name not in LIBRARIES or name in ground.root or code is None or not code.size:
        return True  # in the root a folder is a link, to a place that is not looked into
    return any(LIBRARIES[name].fullmatch(other) for other, _ in ground.root)


def _has_package(ground: Ground, name: str) -> bool:
    return ground.root.at(f"{name}/__init__.py") is not None
