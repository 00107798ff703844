"""What the product never does, read from its source: no shell, no code from data, no blind TLS."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "slng_edge"

CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "pty.spawn", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "tempfile.mktemp", "ssl._create_unverified_context"),
    *("logging.config.fileConfig", "logging.config.listen", "gettext.translation"),
}
CALLS_BEGIN = ("os.exec", "os.spawn", "os.posix_spawn")
MODULES = {
    *("pickle", "cPickle", "marshal", "shelve", "dbm", "dill", "cloudpickle", "joblib", "yaml"),
    *("xml", "xmlrpc", "telnetlib", "ftplib", "imp", "code", "pdb"),
}
NAMES = {"CERT_NONE", "CERT_OPTIONAL", "PROTOCOL_SSLv23", "PROTOCOL_TLSv1", "PROTOCOL_TLSv1_1"}
"""Of `ssl`; wherever they stand."""
SET_BY_NOBODY = {"check_hostname", "verify_mode", "keylog_filename"}
STARTS = {f"subprocess.{each}" for each in ("Popen", "run", "call", "check_call", "check_output")}
NEVER_FALSE = {"verify", "check_hostname", "cert_reqs", "sslopt"}


def forbidden(source: str) -> Iterator[tuple[int, str]]:
    """Lines of `source` that do what is never done, with what it is."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (
                    (node.lineno, f"import {each.name}")
                    for each in names
                    if each.name.partition(".")[0] in MODULES
                )
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                yield node.lineno, f"from {module}"
            case ast.ImportFrom(module=str(module), names=names):
                whole = [f"{module}.{each.name}" for each in names]
                yield from ((node.lineno, each) for each in whole if _is_forbidden(each))
            case ast.Call():
                yield from _of_call(node)
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in NAMES:
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()) if name in SET_BY_NOBODY:
                yield node.lineno, f"{name} ="


def _is_forbidden(name: str) -> bool:
    return name in CALLS or name.startswith(CALLS_BEGIN)


def _of_call(call: ast.Call) -> Iterator[tuple[int, str]]:
    name = ast.unparse(call.func)
    if _is_forbidden(name):
        yield call.lineno, name
    for keyword in call.keywords:
        is_false = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg == "shell" and not is_false:
            yield call.lineno, "shell="
        if keyword.arg in NEVER_FALSE and is_false:
            yield call.lineno, f"{keyword.arg}=False"
    started = call.args[0] if call.args else None
    is_text = isinstance(started, ast.JoinedStr) or (
        isinstance(started, ast.Constant) and isinstance(started.value, str | bytes)
    )
    if is_text and name in STARTS:
        yield call.lineno, "a command line instead of argv"


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run(command, shell=True)",
        "subprocess.Popen(command, shell=wanted)",
        "subprocess.run(f'aplay {file}')",
        "subprocess.check_output('date')",
        "os.system('date')",
        "from os import system",
        "os.popen('date')",
        "os.execvp('sh', argv)",
        "subprocess.getoutput('date')",
        "eval(text)",
        "exec(text)",
        "import pickle",
        "from marshal import loads",
        "import yaml",
        "import xml.etree.ElementTree",
        "tempfile.mktemp()",
        "requests.get(url, verify=False)",
        "context.verify_mode = ssl.CERT_NONE",
        "context.check_hostname = False",
        "ssl._create_unverified_context()",
        "ssl.wrap_socket(sock, cert_reqs=None)",
        "ssl.SSLContext(ssl.PROTOCOL_TLSv1)",
    ],
)
def test_the_reading_finds_it(line: str) -> None:
    """Each of them, also inside of a function."""
    assert list(forbidden(f"def f():\n    {line}\n"))


def test_what_is_harmless_is_not_found() -> None:
    """Programs by argv, TLS as it should be, and the same words elsewhere."""
    harmless = (
        "subprocess.run([sys.executable, '-m', name], check=False, shell=False)\n"
        "context = ssl.create_default_context()\n"
        "pattern = re.compile('x')\nif context.check_hostname:\n    evaluate(model.eval)\n"
    )
    assert list(forbidden(harmless)) == []


def test_the_product_does_none_of_it() -> None:
    """In no file of it."""
    found = {
        f"{path.relative_to(PACKAGE)}:{line}": what
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, what in forbidden(path.read_text(encoding="utf-8"))
    }
    assert found == {}
