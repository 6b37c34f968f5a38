"""The values printed on ScaleEngine's page of `sevu.errorcount`: the demo's account, ticket, question and answer."""

from __future__ import annotations

CDN = 158
API_KEY = "APX4GKLM0RKQLSP2FBO1ROPKSSW47DZE"
# Published by its owner as a sample; a node refuses it outside a demo (model.account.is_published).
SECRET = "8fc8c48da81e6a2a06a9556379bf798af508dc0792497c678b4c3532ba8b637f"

KEY = "mystream.53ffc996dd39d5.39102367"
APP = "demo-origin"
VIDEO = "mystream"
IP = "192.168.0.0"
PASS = "unique_random_string_per_request"

# The sample's members, in its order, but for what every command has.
QUESTION: dict[str, str | int] = {
    "key": KEY,
    "app": APP,
    "video": VIDEO,
    "ip": IP,
    "pass": PASS,
    "success": 1,
    "limit": "25",
    "seek": "0",
}
# The page's reply (a colon mended).
ANSWER: dict[str, str | int] = {
    "code": 2051,
    "message": "ScaleEngine Virtual Usher unsuccessful tickets attempts found",
    "status": "success",
    "error_count": 4,
    "handle_time": "0.3795 seconds",
}
