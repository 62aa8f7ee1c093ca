"""The documentation: the site is whole, the reference says something of every setting, and commands are real ones."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import PAGES, ROOT, commands
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from docs import build
from docs.reference import settings_page
from smallgpt.errors import UserError
from smallgpt.launch.config_files import CONF
from smallgpt.launch.used_keys import refuse_unused
from smallgpt.launch.written_values import as_values

FOREIGN = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\s\">]+")
OWN_CHOICES = {"mine", "skipgpt", "lion", "sums", "vocabulary", "repetition"}  # of the guides' recipes


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READER = """<script>
function all(what) {  // also in the shadow roots, where the search is
  const roots = [document, ...[...document.querySelectorAll("*")].map((each) => each.shadowRoot).filter(Boolean)];
  return roots.flatMap((root) => [...root.querySelectorAll(what)]);
}
addEventListener("load", () => setTimeout(() => {
  document.querySelector("button.md-search__button").click();
  setTimeout(() => {
    const field = all("input").find((each) => each.type === "text");
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, "pairing");
    field.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => {
      const found = all("a").filter((each) => each.getRootNode() !== document);
      document.title = "found: " + found.map((each) => each.textContent).join();
    }, 4000);
  }, 2000);
}, 2000));
</script>"""
"""Script of somebody who searches for "pairing" on a page of the site."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a page, link or anchor that does not exist ends the build."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    before, sys.argv = sys.argv, ["build", "--output", str(folder)]
    try:
        assert build.main() == 0
    finally:
        sys.argv = before
    return folder


def test_the_site_needs_nothing_from_other_servers(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text()
        assert not FOREIGN.findall(text), page
        shown = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)  # a report's have images in their code
        for source in re.findall(r"<img[^>]*\bsrc=\"?([^\s\">]+)", shown):
            assert (page.parent / source).resolve().exists(), f"{page.name}: {source}"
    assert not re.search(r"@import|url\((?:\"|')?https?:", "".join(path.read_text() for path in site.rglob("*.css")))


def test_it_opens_from_files_and_has_every_study(site: Path):
    assert (site / "index.html").exists() and (site / "reference" / "settings.html").exists()
    for readme in (ROOT / "experiments").glob("*/README.md"):
        title = readme.read_text().partition("\n")[0].removeprefix("# ")
        assert title in (site / "index.html").read_text()
    assert "model.downsample_position" in (site / "reference" / "settings.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_its_search_finds_something_without_a_server(site: Path, tmp_path: Path):
    page = site / "searched.html"
    page.write_text((site / "index.html").read_text() + READER)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    page.unlink()
    assert "<title>found: Pairing: the same luck for all" in done.stdout, done.stderr


def test_a_folder_that_is_no_site_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr(build, "write_sources", lambda project: (project / "site").mkdir())
    monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 0}))
    monkeypatch.setattr(sys, "argv", ["build", "--output", str(tmp_path)])
    assert build.main() == 1 and (tmp_path / "mine.txt").exists()


def test_the_reference_says_something_of_every_setting():
    empty = [line for line in settings_page().splitlines() if re.match(r"\| `", line) and line.endswith("|  |")]
    assert not empty, "\n".join(empty)


def first_values(words: list[str]) -> list[str]:
    """A command's own words with the first of several values, without Hydra's."""
    kept = [word for word in words if "=" in word and not word.startswith(("hydra", "+hydra"))]
    return [re.sub(r"^([\w./]+=[\w.-]+)(?:,[\w.-]+)+$", r"\1", word) for word in kept]


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(PAGES.rglob("*.md"))], ids=lambda page: page.stem)
def test_the_commands_of_a_page_have_keys_and_choices_that_exist(page: Path):
    for words in map(as_values, commands(page)):
        given = [word for word in first_values(words) if word.partition("=")[2] not in OWN_CHOICES]
        given = [word for word in given if not re.search(r"=(?:tag|interval|range)\(", word)]
        own = {word.partition("=")[0] for word in words if word.partition("=")[2] in OWN_CHOICES}
        given = [word for word in given if word.partition(".")[0] not in own]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", given, return_hydra_config=True)
        OverridesParser.create().parse_overrides([word for word in words if "=" in word])
        try:
            refuse_unused(config, given if "task" not in own else [], alone="-m" not in words)
        except UserError as error:
            raise AssertionError(f"{' '.join(words)}: {error}") from error


def test_the_notebook_has_no_outputs_and_begins_with_what_can_be_changed():
    cells = json.loads((PAGES / "notebooks" / "comparison.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert code[0]["metadata"]["tags"] == ["parameters"]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMALLGPT_CACHE", str(tmp_path / "cache"))
    Path("text.txt").write_text("\n\n".join(f"Sentence {i} of a text with {i % 7} words." for i in range(800)))
    cells = json.loads((PAGES / "notebooks" / "comparison.ipynb").read_text())["cells"]
    first, *rest = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict = {}
    exec(compile(first, "parameters", "exec"), names)
    names["settings"] = {
        **{"size": "debug", "model.n_layer": 2, "data": "files", "data.path": "text.txt", "data.holdout": 0.3},
        **{"tokenizer": {"vocab_size": 300}, "batch": {"tokens": 512}, "budget": {"tokens": 1024}},
        **{"generation": {"max_new_tokens": 5}, "trainer": {"threads": 1}},
    }
    names["seeds"] = [1]
    for number, source in enumerate(rest, 1):
        exec(compile(source, f"cell {number}", "exec"), names)
    assert names["run"].status == "completed" and list(names["sweep"].arms.index) == ["gpt", "lineargpt"]
    assert "did you mean 'lineargpt'?" in capsys.readouterr().out
