"""What a result says of the code that made it."""

import subprocess
from pathlib import Path

from smallgpt.environment import commit


def test_a_new_file_of_the_code_is_a_difference(tmp_path: Path):
    def git(*words: str) -> None:
        names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *names, *words], check=True, capture_output=True)

    assert commit(tmp_path) is None
    (tmp_path / "smallgpt" / "models").mkdir(parents=True)
    (tmp_path / "smallgpt" / "models" / "gpt.py").write_text("width = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "begun")
    clean = commit(tmp_path)
    assert clean is not None and len(clean) == 40
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "result.json").write_text("{}")
    assert commit(tmp_path) == clean, "what runs leave is no code"
    variant = tmp_path / "smallgpt" / "models" / "mine.py"
    variant.write_text("width = 2\n")
    assert commit(tmp_path) == f"{clean}+"
    variant.unlink()
    (tmp_path / "smallgpt" / "models" / "gpt.py").write_text("width = 3\n")
    assert commit(tmp_path) == f"{clean}+"
