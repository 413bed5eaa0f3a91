"""The Painel do Clima: Kibana's dashboards as code.

fields.py          the data views, and the fields of the index templates
model.py           the vocabulary: dashboards, rows, panels, measures; knows nothing of Kibana
dashboards/        the dashboards themselves, one module each
catalogue/         every text, once per language
layout.py          rows and columns to places on the grid
saved_objects/     the writer: from the model to the saved objects of Kibana 8.3
queries.py         the search that each panel stands for
check.py           what must hold before any of it is shown to anybody
kibana.py          a Kibana, by its HTTP interface
push.py            into a Kibana, whole or not at all
rules.py           the alert rules
alerting.py        into a Kibana, and out of it
choices.py         what the owner of a rule chose, which stays
"""

from __future__ import annotations

from typing import Final

LANGUAGES: Final = ("en", "pt-BR")
