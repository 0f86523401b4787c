#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes gnuplot's SVG small, and black the colour of text in the reader's scheme: stdin to stdout."""
import re
import sys

STYLE = (
    "<style>svg{color:#1f2328}"
    "@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
)


def needed(text, definition):
    return f"'#{definition}'" in text or f"#{definition})" in text


def main():
    text = sys.stdin.read()
    text = re.sub(r"""(['"])black\1""", r"\1currentColor\1", text)
    text = re.sub(r"<filter.*?</filter>", "", text, flags=re.S)
    text = re.sub(r"<title>.*?</title>|<desc>.*?</desc>", "", text, flags=re.S)
    for _ in range(3):  # definitions refer to each other
        text = re.sub(
            r"<(\w+)\b[^>]*\bid='(gp\w+)'[^>]*/>",
            lambda found: found[0] if needed(text, found[2]) else "",
            text,
        )
    count = 1
    while count:
        text, count = re.subn(r"<(g|a|defs)\b[^>]*>\s*</\1>", "", text)
    text = re.sub(r'<tspan font-family="[^"]*"\s*>', "<tspan>", text)
    text = re.sub(r"(\d+)\.00\b", r"\1", text)
    text = re.sub(r"\s+", " ", text)
    text = text.replace("> <", "><").replace("1ki<", "1Ki<").replace("ki<", "Ki<")
    text = re.sub(r"(<svg[^>]*>)", lambda found: found[1] + STYLE, text, count=1)
    sys.stdout.write(text + "\n")


main()
