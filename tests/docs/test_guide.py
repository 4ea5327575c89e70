"""The guide's code runs as it stands, from the first block to the last, and prints what it says it prints."""

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "circuit-breaker.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


def test_every_block_of_the_guide_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    script = tmp_path / "guide.py"
    script.write_text("\n".join(BLOCKS), "utf-8")
    command = [sys.executable, "-W", "error", str(script)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    promised = re.findall(r"print\(.*\) +# (.+)$", script.read_text("utf-8"), re.MULTILINE)
    assert len(promised) >= 4
    for line in promised:
        assert line.replace("30 s", "") in re.sub(r"\d+ s\n", "\n", run.stdout), line
