"""A provider that repeats the key that it was shown tells it to nobody else."""

from tests.gateway.conversation import Conversation

from recloser.core.units import Secret

KEY = Secret("sk-very-secret", "env:SOME_KEY")


def test_a_key_in_a_providers_own_error_is_not_passed_on() -> None:
    talk = Conversation(targets=["a/m"], provider={"api_key": KEY})
    talk.fails(
        400, b'{"error":{"message":"what is Bearer sk-very-secret?","code":"\xff"}}', {"x-seen": "sk-very-secret"}
    )
    assert talk.reply.status == 400
    assert talk.reply.body == b'{"error":{"message":"what is Bearer [key]?","code":"\xff"}}'
    assert talk.reply.headers["x-seen"] == "[key]"
