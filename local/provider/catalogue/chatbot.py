"""Amazon Q Developer in chat applications (AWS Chatbot): kept on record, as Slack is nowhere near."""

from __future__ import annotations

from local.provider.model import Name, Resource

RESOURCES = (
    Resource(
        "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration",
        id="{chatConfigurationArn}",
        name=Name("configurationName", limit=128),
        outputs={
            "chatConfigurationArn": "arn:aws:chatbot::{account}:chat-configuration/slack-channel/{configurationName}"
        },
        note="nobody hears of alarms in Slack on the local AWS",
    ),
)
