"""Packages that only some people need: asked for by name, with the way to install them."""

from importlib.util import find_spec


def need(package: str, extra: str) -> None:
    """Raise unless `package` can be imported.

    Raises OSError: with the command that installs it.
    """
    if find_spec(package) is None:
        raise OSError(f"{package} is not installed: pip install -e '.[{extra}]'")
