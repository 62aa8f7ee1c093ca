"""Text on the terminal while a model makes it."""

from transformers import TextStreamer

from smallgpt.notices import show


class PrintedText(TextStreamer):
    """Streamer that prints new text as soon as it is whole, with what would command the terminal as escapes."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        show(text, end="\n" if stream_end else "")
