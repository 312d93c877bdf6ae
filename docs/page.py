"""Draw the page in docs/report.md from a study of made-up recordings: `python3 start.py run python docs/page.py`.

It needs Chromium, and takes some minutes.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from playwright.sync_api import sync_playwright

from mmssl.study.baseline import baseline_command
from mmssl.study.folder import Study
from mmssl.study.results import best_of

PICTURE = Path(__file__).resolve().parent / "pictures" / "page.png"
SPACE: dict[str, Any] = {
    "description": "λ and μ of VICReg on made-up recordings",
    "grid": {"objective.lambda": [1, 5, 25], "objective.mu": [1, 5, 25]},
    "fixed": {"pretrain.epochs": 15, "pretrain.batch_size": 32, "data.steps": 24, "finetune.epochs": 10},
}


def main() -> None:
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "grid.yaml").write_text(yaml.safe_dump(SPACE, allow_unicode=True), encoding="utf-8")
        run(folder, "launch", "grid.yaml", "--name", "lambda-mu", "--local")
        study = Study(folder / "studies", "lambda-mu")
        beside = baseline_command(study.plan(), best_of(study, study.plan()).choice, "")
        run(folder, *shlex.split(beside)[1:], "--name", "untrained", "--local")
        run(folder, "report", "lambda-mu", "--out", "page.html")
        draw(folder / "page.html")


def run(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "mmssl.cli", *words], cwd=folder, check=True)


def draw(page: Path) -> None:
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": 1360, "height": 940}, color_scheme="light")
        window.goto(page.as_uri())
        window.wait_for_selector("html[data-ready]", state="attached")
        window.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
