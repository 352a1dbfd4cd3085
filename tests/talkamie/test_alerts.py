"""Alerts: kept, counted, marked as read by their owner only."""

from __future__ import annotations

from tests.talkamie.world import World


def test_alerts_are_kept_newest_first_and_counted(world: World) -> None:
    """What was pushed is what the list shows."""
    me = world.member()
    wire = me.socket()
    for _ in range(3):
        world.member().call("POST", f"/user/{me.id}/connection")
    pushed = [frame["data"]["alert"] for frame in wire.pushed()]
    assert me.call("GET", "/alerts")["data"] == pushed[::-1]
    assert me.call("GET", "/auth")["data"]["user"]["totalUnreadAlerts"] == 3
    page = me.call("GET", "/alerts", pageSize=2)
    assert len(page["data"]) == 2
    assert page["pagination"]["lastEvaluatedKey"]["id"] == pushed[1]["id"]


def test_marking_as_read_counts_down_once(world: World) -> None:
    """Twice does no harm, and unknown ids are left out of the answer."""
    me = world.member()
    wire = me.socket()
    world.member().call("POST", f"/user/{me.id}/connection")
    alert = wire.pushed()[0]["data"]["alert"]["id"]
    for _ in range(2):
        marks = {alert: {"status": "read"}, "unknown": {"status": "read"}}
        data = wire.ask("update-alerts", alertsMap=marks)["data"]
        assert data["alertsMap"] == {alert: {"status": "read"}}
        assert data["viewer"] == {"id": me.id, "totalUnreadAlerts": 0}
    assert me.call("GET", "/alerts")["data"][0]["status"] == "read"


def test_an_alert_is_its_owners_alone(world: World) -> None:
    """Somebody else's alert is not found."""
    me, eve = world.member(), world.member()
    wire = me.socket()
    eve.call("POST", f"/user/{me.id}/connection")
    alert = wire.pushed()[0]["data"]["alert"]["id"]
    eve.socket().ask("update-alerts", status=404, alertsMap={alert: {"status": "read"}})
    assert me.call("GET", "/auth")["data"]["user"]["totalUnreadAlerts"] == 1


def test_a_withdrawn_alert_is_gone(world: World) -> None:
    """A canceled request leaves no alert to click on."""
    me, ann = world.member(), world.member()
    ann.call("POST", f"/user/{me.id}/connection")
    ann.call("DELETE", f"/user/{me.id}/connection")
    assert me.call("GET", "/alerts")["data"] == []
    assert me.call("GET", "/auth")["data"]["user"]["totalUnreadAlerts"] == 0
