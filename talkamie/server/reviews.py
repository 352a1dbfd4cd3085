"""Reviews: what users think of each other, one of each pair and direction, keyed by the pair.

none ──review──► posted ──update──► posted
                   └─────delete───► none
A user's rating is the mean of the reviews about him, computed anew with each step, so that it never drifts.
"""

from __future__ import annotations

from msgspec import UNSET

from talkamie.contract import Alert, Page, Review, ReviewData, ReviewInput, User, UserData
from talkamie.server import alerts, relations, views
from talkamie.server.registry import operation
from talkamie.server.service import Call, Cursor, Paged, Problem, cursor, given, iso, page
from talkamie.server.store import Row

_REVIEW = f"select r.*, {views.CARD} from reviews r join users o on o.id = r.rater_id"  # noqa: S608


@operation("get-reviews")
async def get_reviews(call: Call, *, query: Page) -> Paged[list[Review]]:
    """Return the reviews about me, newest first."""
    return await _list(call, call.me, query)


@operation("get-user-reviews")
async def get_user_reviews(call: Call, user_id: str, *, query: Page) -> Paged[list[Review]]:
    """Return the reviews about a user, newest first. 404 for nobody."""
    if user_id != call.me:
        await relations.expect_user(call, user_id)
    return await _list(call, user_id, query)


@operation("review-user")
async def review_user(call: Call, other: str, *, body: ReviewInput) -> ReviewData:
    """Review somebody, and alert him. 403 for oneself, 409 for a second review."""
    await relations.expect_user(call, other)
    async with call.db.transaction():
        identity = await call.db.value(
            """insert into reviews (id, rater_id, user_id, rate, text, created)
            values ($1, $2, $3, $4, $5, $6) on conflict (rater_id, user_id) do nothing returning id""",
            call.db.new_id(call.now),
            call.me,
            other,
            body.rate,
            given(body.text),
            call.now,
        )
        if identity is None:
            raise Problem(409, "You have reviewed this user already.")
        data = ReviewData(review=views.review(await _mine(call, other)), user=await _rate(call, other))
        alert = Alert(type="review", review=data.review)
        await alerts.store(call.db, other, alert, call.now)
    alerts.push(call, other, alert)
    return data


@operation("update-review")
async def update_review(call: Call, other: str, *, body: ReviewInput) -> ReviewData:
    """Change my review of `other`; a text that is not given stays. 404 without one."""
    async with call.db.transaction():
        row = await _mine(call, other)
        text = row["text"] if body.text is UNSET else given(body.text)
        await call.db.all("update reviews set rate = $2, text = $3 where id = $1", row["id"], body.rate, text)
        return ReviewData(review=views.review(await _mine(call, other)), user=await _rate(call, other))


@operation("delete-review")
async def delete_review(call: Call, other: str) -> UserData:
    """Take my review of `other` back. 404 without one."""
    async with call.db.transaction():
        row = await _mine(call, other)
        await call.db.all("delete from reviews where id = $1", row["id"])
        return UserData(user=await _rate(call, other))


async def _list(call: Call, user_id: str, query: Page) -> Paged[list[Review]]:
    before = cursor(query)
    rows, pagination = page(
        await call.db.all(
            f"{_REVIEW} where r.user_id = $1 and r.id < $2 order by r.id desc limit $3",
            user_id,
            "~" if before is None else before.id,
            query.page_size + 1,
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    return Paged([views.review(row) for row in rows], pagination)


async def _mine(call: Call, other: str) -> Row:
    row = await call.db.one(f"{_REVIEW} where r.rater_id = $1 and r.user_id = $2", call.me, other)
    if row is None:
        raise Problem(404, "You have not reviewed this user.")
    return row


async def _rate(call: Call, user_id: str) -> User:
    """Make a user's rating the mean of what was posted, and return it; none without a review."""
    row = await call.db.one(
        """update users set rating = (select coalesce(avg(rate), 0) from reviews where user_id = $1),
            total_reviews = (select count(*) from reviews where user_id = $1)
        where id = $1 returning rating, total_reviews""",
        user_id,
    )
    if row is None:
        raise Problem(404, "There is no such user.")
    return User(id=user_id, rating=row["rating"], total_reviews=row["total_reviews"])
