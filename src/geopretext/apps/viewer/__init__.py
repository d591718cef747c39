"""The web viewer: a small server of JSON and numbers, and pages of plain HTML, CSS and ES modules.

``opened`` says what may be looked at, ``server`` puts the parts together, each ``*_api`` module answers one area, and
``static/`` holds the shell (frame, navigation, theme) and a module a page. Decision 123 says why it is made this way.
"""
