#!/usr/bin/env python3
"""Draws the roofline of one benchmark run:

    espalier bench --json > bench.json; python3 tests/bench/roofline.py bench.json kernels/roofline.svg

Across: multiply-adds for each byte that has to come from beyond the first-level cache (weights of six
bytes, the panel in and out). Up: multiply-adds a second on one core. Lines: what the measured
bandwidths and the multiply-add units allow.
"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 60, 50, 20, 20
X_RANGE, Y_RANGE = (1, 20), (2, 200)
SHAPES = {"shared": (1024, 1024, 32 / 1024), "dense": (4096, 4096, 1.0), "skewed90": (4096, 4096, 0.1),
          "unstructured99": (16384, 16384, 0.01)}
for percent in (50, 70, 90, 95, 97):
    SHAPES[f"unstructured{percent}"] = (4096, 4096, 1 - percent / 100)
PANEL, FLOAT, WEIGHT = 64, 4, 6


def intensity(rows, cols, density):
    weights = rows * cols * density
    return PANEL * weights / (WEIGHT * weights + PANEL * FLOAT * (rows + cols))


def place(x, y):
    def part(value, low, high):
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (LEFT + part(x, *X_RANGE) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - part(y, *Y_RANGE) * (HEIGHT - BOTTOM - TOP))


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def line(start, end, style):
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" {style}/>'


def axes():
    marks = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for x in (1, 2, 5, 10, 20):
        marks.append(line(place(x, Y_RANGE[0]), place(x, Y_RANGE[1]), 'stroke="#ddd"'))
        marks.append(text(place(x, 1)[0], HEIGHT - BOTTOM + 16, x, "middle"))
    for y in (2, 5, 10, 20, 50, 100, 200):
        marks.append(line(place(X_RANGE[0], y), place(X_RANGE[1], y), 'stroke="#ddd"'))
        marks.append(text(LEFT - 6, place(1, y)[1] + 4, y, "end"))
    marks.append(text(WIDTH / 2, HEIGHT - 12, "multiply-adds a byte from beyond the first-level cache", "middle"))
    marks.append(f'<text transform="translate(16 {HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">'
                 "G multiply-adds a second, one core</text>")
    return marks


def roofs(run):
    peak = run["fma_peak_per_second_one_core"] / 1e9
    marks = [line(place(X_RANGE[0], peak), place(X_RANGE[1], peak), 'stroke="black" stroke-width="2"'),
             text(WIDTH - RIGHT - 4, place(1, peak)[1] - 5, f"{run['simd']}: {peak:.0f} G/s", "end")]
    for name in ("l2", "l3", "memory"):
        rate = run["bandwidth"][name] / 1e9
        end = min(max(peak / rate, X_RANGE[0]), X_RANGE[1])
        start = max(X_RANGE[0], Y_RANGE[0] / rate)
        if start < end:
            marks.append(line(place(start, start * rate), place(end, end * rate), 'stroke="#777"'))
            marks.append(text(*place(start * 1.02, start * rate * 1.05), f"{name} {rate:.0f} GB/s"))
    return marks


def points(run):
    marks = []
    for case in run["cases"]:
        if case["name"] in SHAPES:
            x, y = place(intensity(*SHAPES[case["name"]]), case["fma_per_second"] / 1e9)
            marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#06c"/>')
            marks.append(text(x - 8, y + 4, f"{case['name']} {100 * case['ratio']:.0f} %", "end"))
    return marks


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        run = json.load(file)
    marks = axes() + roofs(run) + points(run)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
                   f'font-size="12">\n' + "\n".join(marks) + "\n</svg>\n")


if __name__ == "__main__":
    main()
