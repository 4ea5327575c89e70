"""What an import does in a process that has imported nothing yet."""

import subprocess
import sys

_LOADED = """
import sys
before = set(sys.modules)
import {module}
print("\\n".join(sorted(set(sys.modules) - before)))
"""
_WITHOUT = """
import sys
sys.modules["{package}"] = None  # whoever imports it is told that it is not there
try:
    import {module}
except ImportError as error:
    print(error)
"""


def loaded_by(module: str) -> set[str]:
    """The modules that are there after an import of this one and were not before."""
    return set(_said(_LOADED.format(module=module)).split())


def packages_of(modules: set[str]) -> set[str]:
    """The packages that these modules are of, but for the standard library's."""
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


def complaint_without(package: str, module: str) -> str:
    """What an import says where a package is missing."""
    return _said(_WITHOUT.format(package=package, module=module)).strip()


def _said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
