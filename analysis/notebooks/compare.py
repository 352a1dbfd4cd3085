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
FOLDER = "reports/comparison"
# %%
from analysis import sheets, shifts

report = sheets.open_sheet("compare", FOLDER)
# %%
report.section("summary")
# %% [markdown]
# ## Quantile by quantile
# %%
shifts.shifts(report.found)
# %% [markdown]
# ## Every metric
# %%
report.section("metrics")
# %% [markdown]
# ## Counts
# %%
report.section("counts")
