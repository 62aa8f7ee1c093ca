"""The report as a user asks for it, and as a browser shows it."""

import csv
import json
import re
import shutil
import struct
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from command_line import CommandLine
from sweeps import failed, job

from smallgpt.reporting.report import report
from smallgpt.reporting.study import read_study

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def fill(sweep: Path, data: str = "text-a") -> Path:
    """Three arms, two seeds, a failed job, and text that would break out of the page."""
    for seed in (1, 2):
        job(
            sweep, "gpt", seed, 4.0 + seed / 10, "model.n_layer=4", data=data, samples=[EVIL], question="Is it <small>?"
        )
        job(sweep, "parallelgpt", seed, 3.9 + seed / 9, "model.n_layer=4", data=data)
        job(sweep, "lineargpt", seed, 4.3 + seed / 10, "model.n_layer=6", f"prompt={EVIL}", data=data)
    failed(sweep, f"RuntimeError: {EVIL}", "model=gpt", "seed=3")
    return sweep


def test_a_report_of_a_sweep(cli: CommandLine):
    fill(Path("sweep"))
    began = time.monotonic()
    done = cli("task=report", "sweep=sweep", "hydra.run.dir=run")
    assert time.monotonic() - began < 60
    assert done.code == 0, done.err
    assert done.result["status"] == "completed" and done.result["report"]["report"] == "sweep/report.html"
    assert "parallelgpt" in done.out and "arms" in done.out and "job 6 failed: RuntimeError" in done.out
    assert done.result["report"]["winner"][0].startswith("parallelgpt n_layer=4 has the lowest validation loss")

    with Path("sweep/results.csv").open() as file:
        assert [row["job"] for row in csv.DictReader(file)] == list("0123456")
    table = Path("sweep/results.md").read_text()
    assert "| **parallelgpt n_layer=4** |" in table and "**Is it &lt;small>?**" in table
    for name in ("loss", "differences", "quality_parameters", "parameters", "diagram_2", "axis_model_n_layer_loss"):
        png = Path(f"sweep/figures/{name}.png").read_bytes()
        width, _, across = *struct.unpack(">II", png[16:24]), struct.unpack(">I", png.partition(b"pHYs")[2][:4])[0]
        assert width == 974 and across == 11811  # 3.25 inches of 300 dots, 39.37 of them a metre
        assert Path(f"sweep/figures/{name}.pdf").read_bytes().startswith(b"%PDF")
        assert ElementTree.parse(f"sweep/figures/{name}.svg").getroot().get("width") == "234pt"
    assert Path("sweep/loss.png").read_bytes().startswith(b"\x89PNG")

    page = Path("sweep/report.html").read_text()
    assert EVIL not in page and "&lt;script&gt;alert(1)" in page
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
    assert "Is it &lt;small&gt;?" in page and "python run.py -m" in page and "a processor" in page
    assert page.index('class="winner"') < page.index('class="price"') < page.index("<table") < page.index("<pre>")
    assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", page))
    described = re.findall(r'aria-describedby="([^"]+)"', page)
    assert len(described) >= 10 and all(re.search(rf'id="{name}">[^<]+<', page) for name in described)
    table = Path("sweep/table.tex").read_text()
    assert table.startswith(r"\begin{tabular}{lrr") and r"parallelgpt n\_layer=4 & \textbf{" in table
    # a second time in the same place, after another baseline was asked for
    again = cli("task=report", "sweep=sweep", 'baseline="parallelgpt n_layer=4"', "hydra.run.dir=again")
    assert again.code == 0 and "baseline parallelgpt n_layer=4" in again.result["report"]["winner"][0]
    assert again.result["config_hash"] == done.result["config_hash"]


def test_several_sweeps_of_different_data(cli: CommandLine):
    fill(Path("a"), "text-a")
    fill(Path("b"), "text-b")
    done = cli("task=report", "sweep=[a,b]", "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert len(done.result["report"]["winner"]) == 2
    page = Path("run/report.html").read_text()
    body, markdown = page.split("<summary>Markdown")
    for text in (body, markdown):
        assert text.count("losses cannot be compared with those of the other sections") == 2
    assert Path("run/figures/data2_loss.png").exists() and Path("run/results.md").exists()
    assert not Path("a/report.html").exists()
    assert page.count('<section id="curves_') == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "sweep=null: task=report needs the directory of a sweep, such as multirun_outputs/STUDY"),
        (("sweep=swep",), "sweep=swep: no such directory; did you mean 'sweep'?"),
        (("sweep=[sweep,empty]",), "sweep=empty: holds no job with a result.json; give the directory of a sweep"),
        (("sweep=sweep", "baseline=gtp"), "baseline=gtp: no arm of that name; did you mean 'gpt'?"),
    ],
)
def test_what_cannot_be_reported_is_refused(cli: CommandLine, words: tuple[str, ...], message: str):
    job(Path("sweep"), "gpt", 1, 4.0)
    Path("empty").mkdir()
    assert cli.refused("task=report", *words).startswith(message)


def test_a_sweep_of_costs_ends_in_a_report(cli: CommandLine):
    words = ("task=inspect", "model=gpt,lineargpt", "size=debug", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    done = cli("-m", *words, "question=What do they cost?")
    assert done.code == 0, done.err
    assert done.result["report"] == "sweep/report.html"
    page = Path("sweep/report.html").read_text()
    assert "What do they cost?" in page and "No job has a validation loss" in page
    assert "python run.py -m task=inspect model=gpt,lineargpt size=debug" in page


def test_a_sweep_whose_page_cannot_be_drawn_is_still_completed(cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    def broken(*_):
        raise RuntimeError("no more\nink")

    monkeypatch.setattr("smallgpt.reporting.report.draw_page", broken)
    words = ("task=inspect", "model=gpt,lineargpt", "size=debug", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    done = cli("-m", *words)
    assert done.code == 0 and done.result["status"] == "completed"
    assert done.err.startswith("error: the report of sweep is not whole (RuntimeError: no more ink)")
    assert Path("sweep/results.csv").exists() and done.result["report_error"] == "RuntimeError: no more ink"


def test_a_diverged_job_blanks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for variant in ("gpt", "lineargpt"):
        job(tmp_path, variant, 1, 4.0)
    lost = job(tmp_path, "parallelgpt", 1, 4.0)
    table = (lost / "metrics.csv").read_text().splitlines()
    (lost / "metrics.csv").write_text("\n".join([*table[:3], "3,3000,1.5,9,,nan", "4,4000,2,inf,,inf", "5,50"]))
    result = json.loads((lost / "result.json").read_text())
    result["val"] = {"loss": float("nan"), "perplexity": float("inf"), "bits_per_byte": float("nan")}
    (lost / "result.json").write_text(json.dumps(result))
    report(read_study([tmp_path]), tmp_path)
    page = (tmp_path / "report.html").read_text()
    (specs,) = re.findall(r'<script type="application/json" id="drawings">(.*?)</script>', page, re.DOTALL)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in the page's JSON")

    drawings = json.loads(specs, parse_constant=refuse)
    assert {"seeds", "quality_parameters", "diagram_0"} <= drawings["figures"].keys()
    (lost_arm,) = [arm for arm in drawings["curves"][0]["arms"] if arm["label"] == "parallelgpt"]
    assert len(lost_arm["loss"]["val/loss"]) == 2
    with (tmp_path / "results.csv").open() as file:
        row = list(csv.DictReader(file))[2]
    assert row["status"] == "completed" and row["val/loss"] == "" and row["val/perplexity"] == ""
    assert "nan" not in capsys.readouterr().out.lower()


def test_a_figure_that_cannot_be_drawn_says_so_and_takes_no_other_with_it(tmp_path: Path, capsys):
    run_dir = job(tmp_path, "gpt", 1, 4.0)
    job(tmp_path, "lineargpt", 1, 4.1)
    result = json.loads((run_dir / "result.json").read_text())
    result["cost"]["layout"][0]["out_width"] = "wide"
    (run_dir / "result.json").write_text(json.dumps(result))
    report(read_study([tmp_path]), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert re.search(r"This figure cannot be drawn: TypeError", page)
    assert "figure diagrams: cannot be drawn (TypeError" in capsys.readouterr().out
    assert (tmp_path / "figures" / "loss.png").exists() and (tmp_path / "figures" / "parameters.png").exists()


# -- in a browser -----------------------------------------------------------------------------------------------------


def browse(page: Path, *options: str, width: int = 1200) -> tuple[str, str]:
    """The document after its scripts have run, and what the browser said."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--no-first-run", "--allow-file-access-from-files"]
    command += ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", "--dump-dom"]
    command += [f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},900", *options]
    done = subprocess.run([*command, page.absolute().as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


USER = """<!doctype html><title>waiting</title><body style="margin:0">
<iframe src="sweep/report.html" style="width:390px;height:844px;border:0"></iframe>
<script>
const frame = document.querySelector("iframe");
const soon = act => new Promise(done => setTimeout(() => done(act()), 1000));
addEventListener("load", () => setTimeout(async () => {
  const page = frame.contentDocument, figure = page.getElementById("curve_0_loss_0"), told = {};
  const all = selector => [...figure.querySelectorAll(selector)];
  const send = (node, kind, names, more) => {
    const {x, y, width, height} = node.getBoundingClientRect();
    const at = {bubbles: true, cancelable: true, clientX: x + width / 2, clientY: y + height / 2, ...more};
    for (const name of names) node.dispatchEvent(new frame.contentWindow[kind](name, at));
  };
  told.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  told.lines = all(".mark-line path").length;
  send(all(".mark-symbol.role-mark path")[0], "MouseEvent", ["pointerover", "pointermove", "mouseover", "mousemove"]);
  told.tooltip = await soon(() => page.querySelector("#vg-tooltip-element").innerText);
  page.querySelector("[name=single]").click();
  told.single = await soon(() => all(".mark-line path").length);
  page.querySelector("[name=arm]").click();
  told.without = await soon(() => all(".mark-line path").length);
  page.querySelector("[name=axis][value=seconds]").click();
  told.axis = await soon(() => all(".role-axis-title text")[0].textContent);
  page.querySelector("[name=logX]").click();
  await soon(() => null);
  const ticks = () => all(".role-axis-label text").map(text => text.textContent).join(" ");
  const before = ticks();
  send(figure.querySelector(".mark-line path"), "WheelEvent", ["wheel"], {deltaY: -300, shiftKey: true});
  told.zoomed = await soon(() => ticks() !== before);
  document.body.innerHTML = `<pre>${JSON.stringify(told)}</pre>`;
}, 3000));
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_shows_it(cli: CommandLine):
    fill(Path("sweep"))
    assert cli("task=report", "sweep=sweep", "hydra.run.dir=run").code == 0
    for look in ((), ("--blink-settings=preferredColorScheme=0",)):
        dom, said = browse(Path("sweep/report.html"), *look)
        assert ":CONSOLE" not in said, said
        containers = re.findall(r'<div class="figure[^>]*>.{0,300}', dom, re.DOTALL)
        assert len(containers) >= 12
        assert all("<svg" in container for container in containers), containers
        assert "alert(1)&lt;/script&gt;" in dom
    Path("user.html").write_text(USER)
    dom, said = browse(Path("user.html"), width=800)
    found = re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)
    assert found, said
    told = json.loads(found[1])
    assert told.pop("tooltip").startswith("arm")
    assert told == {"overflow": 0, "lines": 3, "single": 9, "without": 6, "axis": "training time (s)", "zoomed": True}
    Path("broken.html").write_text("<script>nothing.here()</script>")
    assert ":CONSOLE" in browse(Path("broken.html"))[1]  # so silence means something
