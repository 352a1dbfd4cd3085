# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
# %% tags=["parameters"]
FOLDER = "reports/history"
# %%
from analysis import history_charts, sheets

report = sheets.open_sheet("history", FOLDER)
# %%
report.section("summary")
# %% [markdown]
# ## By commit
# %%
history_charts.lines(report.found)
# %% [markdown]
# ## Every metric
# %%
report.section("metrics")
