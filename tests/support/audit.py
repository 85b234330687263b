"""Known vulnerabilities of what is installed here, by pip-audit: a part of `make check`.

Where no index answers, or none that knows the packages, it is skipped, and says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

SECONDS = 180  # for all packages; the question about one takes a tenth
PROBE = "idna"  # an index that does not know this one knows none


def main(tool: str) -> int:
    """Print what was found; return 1 when a package has a known vulnerability."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(f"{PROBE}=={version(PROBE)}\n")
        known = asked(tool, SECONDS // 10, "--requirement", str(file), "--no-deps", "--disable-pip")
    place = sysconfig.get_path("purelib")
    found = asked(tool, SECONDS, "--path", place, "--skip-editable") if known else []
    if not found:
        print("pip-audit: skipped, since no index answers it")
        return 0
    bad = [(each, v) for each in found for v in each["vulns"]]
    for each, vulnerability in bad:
        fixed = ", ".join(vulnerability.get("fix_versions") or ()) or "no version yet"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}; fixed in {fixed}")
    print(f"pip-audit: {len(bad)} known vulnerabilities in {len(found)} packages")
    return 1 if bad else 0


def asked(tool: str, seconds: int, *about: str) -> list[dict[str, Any]]:
    """Return the packages that the index knows, with their vulnerabilities; none: no answer."""
    how = ("--format", "json", "--progress-spinner", "off", "--timeout", "5")
    try:
        done = subprocess.run(
            [tool, *how, *about], capture_output=True, text=True, timeout=seconds, check=False
        )
        return [each for each in json.loads(done.stdout)["dependencies"] if "vulns" in each]
    except (OSError, ValueError, LookupError, subprocess.TimeoutExpired):
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
