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
RUN = "reports/example"
AGAINST = ""
# %%
from analysis import charts, page

report = page.open_report(RUN, AGAINST)
frames = report.frames
# %%
report.section("verdict")
# %% [markdown]
# ## Objectives
# %%
report.section("objectives")
# %% [markdown]
# ## Second by second
# %%
report.timeline()
# %%
report.comparison()
# %% [markdown]
# ## Percentiles
# %%
page.beside(report.titled("requests, deliveries and pings", charts.spectrum(frames)),
            report.titled("fan-out latency, per recipient", charts.fanout(frames)))
# %% [markdown]
# ## Deliveries
# %%
report.deliveries()
# %% [markdown]
# ## Operations
# %%
report.operations()
# %% [markdown]
# ## Pings
# %%
report.pings()
# %% [markdown]
# ## Can the instrument be trusted?
# %%
report.instrument()
# %% [markdown]
# ## Coverage of the API
# %%
report.section("coverage")
# %% [markdown]
# ## How it was measured
# %%
report.section("facts")
