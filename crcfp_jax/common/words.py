"""Numbers and their names as people read them."""

METRICS = {"mean_iou": "mIoU", "mean_dice": "Dice", "accuracy": "accuracy"}  # key of result.json -> heading


def shown(text: str) -> str:
    """A name as a line can show it: what can't be printed, such as line breaks and bytes that are no UTF-8, escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def one_line(words: object, most: int = 200) -> str:
    """What an error or a library says as one line of at most so many letters; its type's name where that is nothing."""
    text = " ".join(str(words).split()) or type(words).__name__
    return text if len(text) <= most else text[: most - 3] + "..."


def duration(seconds: float | int) -> str:
    """A time in the two units that matter, such as '2 h 05 min', '3 min 20 s' or '12 s'."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"
