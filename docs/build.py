"""`python -m docs.build` builds the site in site/: pages, studies, and the reference that is made from the code.

Every page, link and anchor that does not exist ends it with an error. The site opens from files, without a network.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from docs.reference import write_reference

HERE = Path(__file__).parent
STUDIES = HERE.parent / "experiments"
FROM_A_SERVER = re.compile(r'<script src="?https://[^>]*></script>')
"""What zensical's offline search fetches from another server where pages are opened from files; the rest needs none."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE.parent / "site", help="folder of the site")
    output = parser.parse_args().output.absolute()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write_sources(project)
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", "mkdocs.yml"]
        if code := subprocess.run(command, cwd=project).returncode:
            return code
        for page in (project / "site").rglob("*.html"):
            page.write_text(FROM_A_SERVER.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")
        if output.exists() and not (output / "search.json").exists():
            print(f"error: --output={output}: is no site of before and would be written over", file=sys.stderr)
            return 1
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(project / "site", output)
    print(f"site: {output / 'index.html'}")
    return 0


def write_sources(project: Path) -> None:
    """Writes what zensical reads: the pages, the studies, the reference, and its configuration."""
    pages = project / "docs"
    shutil.copytree(HERE / "pages", pages)
    write_reference(pages / "reference")
    config: dict[str, Any] = yaml.safe_load((HERE / "site.yml").read_text())
    (studies,) = [entry["Studies"] for entry in config["nav"] if "Studies" in entry]
    for readme in sorted(STUDIES.glob("*/README.md")):
        shutil.copytree(readme.parent, pages / "studies" / readme.parent.name)
        title = readme.read_text().partition("\n")[0].removeprefix("# ")
        studies.append({title: f"studies/{readme.parent.name}/README.md"})
    (project / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    sys.exit(main())
