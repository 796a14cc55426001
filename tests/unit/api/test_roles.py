"""What each role may do."""

from __future__ import annotations

from cavvy.testing import LiveStack


async def test_the_operators_key_opens_no_job_and_is_told_which_key_does(stack: LiveStack) -> None:
    headers = {"Authorization": f"Bearer {stack.server.operator_key}"}
    answer = await stack.http.post("/v1/jobs", json={"prompt": "hi"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "Use a key of that tenant with the role admin or submit" in answer.json()["detail"]
