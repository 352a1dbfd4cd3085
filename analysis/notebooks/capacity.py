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
FOLDER = "reports/capacity"
# %%
from analysis.capacity import charts, page
from analysis.page import beside

report = page.open_page(FOLDER)
capacity = report.capacity
# %%
report.section("summary")
# %% [markdown]
# ## Goodput and response time by load
# %%
charts.curve(capacity)
# %%
beside(charts.response(capacity)._repr_html_(), charts.breaking(capacity)._repr_html_())
# %%
report.section("points")
# %% [markdown]
# ## What breaks first
# %%
report.section("search")
# %% [markdown]
# ## Headroom
# %%
report.section("headroom")
# %% [markdown]
# ## Scalability law
# %%
report.section("curve")
# %% [markdown]
# ## Resources per user
# %%
report.section("resources")
# %% [markdown]
# ## Sizing
# %%
beside(charts.instances(capacity.sizing)._repr_html_(), report.section("sizing"))
# %%
report.section("inputs")
