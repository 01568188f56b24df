"""Draw every diagram anew: `make diagrams`."""

from __future__ import annotations

from pathlib import Path

from analysis.diagrams import draw, pictures

HERE = Path(__file__).parent


def main() -> None:
    for diagram in pictures.all_of_them():
        picture = draw.svg(diagram)
        (HERE / f"{diagram.name}.svg").write_text(picture)
        (HERE / f"{diagram.name}.png").write_bytes(draw.png(picture))
        print(f"analysis/diagrams/{diagram.name}.svg and .png")


if __name__ == "__main__":
    main()
