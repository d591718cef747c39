"""Text tables for stdout: aligned columns that read without colour and paste into a mail."""

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns as wide as their longest cell; ``right`` lists the columns that are aligned to the right.

    >>> print(text_table(["task", "score"], [["biomass", "0.71"], ["field", "12.5"]], right=[1]))
    task     score
    -------  -----
    biomass   0.71
    field     12.5
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
