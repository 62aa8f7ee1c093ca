"""Templates that make a text out of the fields of a row, such as `{text}\\nLabel: {label}`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

from smallgpt.errors import UserError, shown

ESCAPES = {"\\n": "\n", "\\t": "\t"}
"""What stands for a line break and a tab on a command line."""


@dataclass(frozen=True)
class Template:
    """Text with the names of fields in braces; `{{` and `}}` are braces, `\\n` and `\\t` a line break and a tab."""

    text: str
    key: str = "data.template"
    """Key of the config that holds it, for what is said of it."""

    @cached_property
    def parts(self) -> list[tuple[str, str | None]]:
        """Pairs of a text and the name of the field that follows it; the last one's name may be None.

        Raises UserError where the template is none.
        """
        text = self.text
        for written, meant in ESCAPES.items():
            text = text.replace(written, meant)
        try:
            found = list(Formatter().parse(text))
        except ValueError as error:
            raise UserError(f"{self.key}={shown(self.text)}: not a template ({error}); {{{{ is a brace") from None
        for _, name, specification, conversion in found:
            if name == "" or specification or conversion:
                raise UserError(f"{self.key}={shown(self.text)}: braces hold the name of a field, as in {{text}}")
        if not any(name for _, name, _, _ in found):
            raise UserError(f"{self.key}={shown(self.text)}: names no field; write {{text}} for the field text")
        return [(text, name) for text, name, _, _ in found]

    @property
    def names(self) -> list[str]:
        """Names of the fields, in the order in which they stand."""
        return [name for _, name in self.parts if name]

    def filled(self, value: Callable[[str], str]) -> str:
        """The text with the value of each field in its place."""
        return "".join(text + (value(name) if name else "") for text, name in self.parts)
