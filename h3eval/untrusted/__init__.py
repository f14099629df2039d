"""All that comes from outside is read here, with limits: files, JSON, TOML, YAML, tables, weights' headers, templates.

Whoever wrote a file may have meant to harm, or may have cut it, saved it in another encoding, or called it by another
name. Each module bounds size, depth and time, refuses what can be read in two ways, and says in one line what was
wrong and how to mend it.
"""
