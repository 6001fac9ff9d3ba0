"""The reader study: blinded films for people to judge, their answers, and the tables that come of them.

A study is a folder: `study.json` (what readers are shown, and in which order), `films/`, `truth.json` and `truth/`
(never served before the end), `readers.json` (hashes of the readers' links) and `answers/` (a log for each reader).
"""
