"""The commands that a document shows, in the order in which it shows them."""

import re
from pathlib import Path

# What a line of Helm's notes, or a piece of inline code, begins with if it is a command.
PROGRAMS = ("kubectl", "helm", "coordinator", "p2p", "docker")


def fenced(page: Path, section: str = "") -> list[str]:
    """Every command of the shell blocks, or of those under one heading; continued lines are one."""
    text = page.read_text()
    if section:
        text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL).group(1)
    unknown = set(re.findall(r"^```(\w+)$", text, re.MULTILINE)) - {"sh", "json", "yaml", "toml"}
    assert not unknown, f"{page}: a block of {unknown}: write sh, so that it is checked"
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def inline(page: Path) -> list[str]:
    """Commands between backticks in the text around the blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [code for code in re.findall(r"`([^`\n]+)`", text) if code.split()[0] in PROGRAMS and len(code.split()) > 1]


def notes(text: str) -> list[str]:
    """Commands of Helm's notes, each on a line of its own or at the end of one."""
    starts = "|".join(PROGRAMS)
    return re.findall(rf"^     (?:the address of: )?((?:{starts}) .*)$", text, re.MULTILINE)


def comments(page: Path) -> list[str]:
    """Commands in the comment that a file begins with; two spaces end a command."""
    head = page.read_text().split("\n\n")[0]
    return [line.split("   ")[0].strip() for line in re.findall(r"^#   (docker .*)$", head, re.MULTILINE)]
