"""What mypy is told to pass over, functions under `triton.jit` or `gluon.jit`, hides no other without types."""

import ast
import configparser
from fnmatch import fnmatch
from pathlib import Path

KERNELS = Path(__file__).parents[2] / "kernels"


def exempted() -> list[Path]:
    """Modules whose functions mypy lets go without types."""
    config = configparser.ConfigParser()
    config.read(KERNELS.parent / "setup.cfg")
    patterns = [
        pattern.removeprefix("mypy-")
        for section in config.sections()
        if section.startswith("mypy-") and config[section].get("disallow_untyped_defs") == "false"
        for pattern in section.split(",")
    ]
    modules = {
        path: ".".join(path.relative_to(KERNELS.parent).with_suffix("").parts)
        for path in KERNELS.rglob("*.py")
    }
    return [path for path, name in modules.items() if any(fnmatch(name, pattern) for pattern in patterns)]


def under_jit(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(each).startswith(("triton.jit", "gluon.jit")) for each in node.decorator_list)


def untyped(source: str) -> list[str]:
    """Functions that are not under either and lack the type of an argument or of what they return."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef) or under_jit(node):
            continue
        given = [
            *node.args.posonlyargs,
            *node.args.args,
            *node.args.kwonlyargs,
            node.args.vararg,
            node.args.kwarg,
        ]
        bare = [
            x.arg for x in given if x is not None and x.annotation is None and x.arg not in ("self", "cls")
        ]
        if bare or node.returns is None:
            found.append(node.name)
    return found


def test_every_other_function_has_its_types():
    paths = exempted()
    assert len(paths) > 10
    assert {str(path): untyped(path.read_text()) for path in paths if untyped(path.read_text())} == {}


def test_a_function_without_types_is_seen():
    jitted = "@autotune(CHAIN)\n@triton.jit\ndef kernel(x, K: tl.constexpr):\n    pass\n"
    assert untyped(jitted) == []
    assert untyped(jitted + "def launch(x):\n    def grid(meta: dict) -> int:\n        pass\n") == ["launch"]
    assert untyped("def launch(x: int, *rest) -> int:\n    pass\n") == ["launch"]
    assert untyped("class A:\n    def run(self, x: int):\n        pass\n") == ["run"]
