"""Tables with borders."""

WRAP = 30


def bordered(headings, rows):
    """Cells are wrapped between words at 30 characters; numbers stand at the right."""
    wrapped = [[_wrapped(cell) for cell in row] for row in rows]
    widths = [
        max(
            [
                len(heading),
                *(_width(row[column], lines[column]) for row, lines in zip(rows, wrapped, strict=True)),
            ]
        )
        for column, heading in enumerate(headings)
    ]
    border = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    heading = "|" + "|".join(_centred(h, w) for h, w in zip(headings, widths, strict=True)) + "|\n"
    lines = []
    for row in wrapped:
        for number in range(max(map(len, row))):
            cells = [cell[number] if number < len(cell) else "" for cell in row]
            lines.append("|" + "|".join(_cell(c, w) for c, w in zip(cells, widths, strict=True)) + "|\n")
    return border + heading + border + "".join(lines) + border


def _width(text, lines):
    """A cell that was wrapped claims all that it may have."""
    return max(min(len(text), WRAP), *map(len, lines))


def _cell(text, width):
    return f" {text.rjust(width) if _is_number(text) else text.ljust(width)} "


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _centred(text, width):
    gap = width - len(text)
    return " " * (gap // 2 + 1) + text + " " * (gap - gap // 2 + 1)


def _wrapped(text):
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > WRAP:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
