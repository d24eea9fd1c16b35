#!/usr/bin/env python3
"""Draws the roofline of one benchmark run:

    espalier bench --json > bench.json; python3 tests/bench/roofline.py bench.json kernels/roofline.svg

Across: multiply-adds for each byte that has to come from beyond the first-level cache (weights of six
bytes, the panel in and out). Up: multiply-adds a second on one core, as a share of the peak that was
measured beside each case. Lines: what the measured bandwidths allow.
"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 50, 50, 20, 150
X_RANGE = (0.5, 20)
LINE = 16  # between the names of two cases
SHAPES = {"shared": (1024, 1024, 32 / 1024), "dense": (4096, 4096, 1.0), "skewed90": (4096, 4096, 0.1),
          "unstructured99": (16384, 16384, 0.01)}
for percent in (50, 70, 90, 95, 97):
    SHAPES[f"unstructured{percent}"] = (4096, 4096, 1 - percent / 100)
PANEL, FLOAT, WEIGHT = 64, 4, 6


def intensity(rows, cols, density):
    weights = rows * cols * density
    return PANEL * weights / (WEIGHT * weights + PANEL * FLOAT * (rows + cols))


def place(x, share):
    low, high = X_RANGE
    across = (math.log(x) - math.log(low)) / (math.log(high) - math.log(low))
    return (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP))


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def line(start, end, style):
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" {style}/>'


def axes(run):
    marks = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for x in (0.5, 1, 2, 5, 10, 20):
        marks.append(line(place(x, 0), place(x, 1), 'stroke="#ddd"'))
        marks.append(text(place(x, 0)[0], HEIGHT - BOTTOM + 16, f"{x:g}", "middle"))
    for percent in (0, 25, 50, 75, 100):
        marks.append(line(place(X_RANGE[0], percent / 100), place(X_RANGE[1], percent / 100), 'stroke="#ddd"'))
        marks.append(text(LEFT - 6, place(1, percent / 100)[1] + 4, percent, "end"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    marks.append(text(middle, HEIGHT - 12, "multiply-adds a byte from beyond the first-level cache", "middle"))
    peak = run["fma_peak_per_second_one_core"] / 1e9
    marks.append(f'<text transform="translate(14 {HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">'
                 f"% of the peak of one core ({run['simd']}, {peak:.0f} G multiply-adds/s)</text>")
    return marks


def roofs(run):
    marks = [line(place(X_RANGE[0], 1), place(X_RANGE[1], 1), 'stroke="black" stroke-width="2"')]
    for name, title in (("l2", "L2"), ("l3", "L3"), ("memory", "memory")):
        rate = run["bandwidth"][name] / run["fma_peak_per_second_one_core"]
        end = min(1 / rate, X_RANGE[1])
        steps = [X_RANGE[0] * (end / X_RANGE[0]) ** (k / 24) for k in range(25)] if end > X_RANGE[0] else []
        for here, there in zip(steps, steps[1:]):
            marks.append(line(place(here, here * rate), place(there, there * rate), 'stroke="#777"'))
        if steps:
            x, y = place(steps[12], steps[12] * rate)
            marks.append(text(x + 6, y + 12, f"{title} {run['bandwidth'][name] / 1e9:.0f} GB/s"))
    return marks


def points(run):
    """A dot each, and its name in a column beside the picture, lower where it would hide another."""
    marks, free = [], TOP
    cases = [case for case in run["cases"] if case["name"] in SHAPES]
    for case in sorted(cases, key=lambda case: -case["ratio"]):
        x, y = place(intensity(*SHAPES[case["name"]]), case["ratio"])
        name = (WIDTH - RIGHT + 12, max(y, free))
        free = name[1] + LINE
        marks.append(line((x, y), name, 'stroke="#9bd"'))
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#06c"/>')
        marks.append(text(name[0] + 3, name[1] + 4, f"{case['name']} {100 * case['ratio']:.0f} %"))
    return marks


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        run = json.load(file)
    marks = axes(run) + roofs(run) + points(run)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
                   f'font-size="12">\n' + "\n".join(marks) + "\n</svg>\n")


if __name__ == "__main__":
    main()
