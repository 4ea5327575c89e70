# ruff: noqa: RUF001, RUF002 - DeepSeek's marks have a bar of their own
"""The marks of calls of tools in the formats that models were trained on, as they show up in text.

<tool_call>{"name": "f", "arguments": {}}</tool_call>                       Hermes, Qwen
<function=f><parameter=a>1</parameter></function>                           Qwen Coder
<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>        GLM
<invoke name="f"><parameter name="a">1</parameter></invoke>                 Anthropic, MiniMax
[TOOL_CALLS][{"name": "f", "arguments": {}}]   [TOOL_CALLS]f[ARGS]{}        Mistral
<|python_tag|>{"name": "f", "parameters": {}}   [f(a=1)]                    Llama
<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}              Kimi
<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}                                      DeepSeek
<|channel|>commentary to=functions.f<|message|>{}<|call|>                   gpt-oss
print(default_api.f(a=1))                                                   Gemini
"""

OPENERS = (
    "<tool_call>",
    "<tool_calls>",
    "<tools>",
    "<tool>",
    "<tool_use>",
    "<toolcall>",
    "<TOOLCALL>",
    "<function_call>",
    "<function_calls>",
    "<functioncall>",
    "<minimax:tool_call>",
    "<|tool_call|>",
    "<|tool_calls|>",
    "<|tool_call_start|>",
    "<|tool_call_begin|>",
    "<|tool_calls_section_begin|>",
    "<|python_tag|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "[TOOL_CALLS]",
    "[TOOL_CALL]",
)
"""What says that a call follows."""
_ENDS = (
    "</tool_call>",
    "</tool_calls>",
    "</tools>",
    "</tool>",
    "</tool_use>",
    "</toolcall>",
    "</TOOLCALL>",
    "</function_call>",
    "</function_calls>",
    "</functioncall>",
    "</minimax:tool_call>",
    "</function>",
    "</invoke>",
    "<|/tool_call|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
    "[/TOOL_CALLS]",
    "[/TOOL_CALL]",
    "<|call|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<｜end▁of▁sentence｜>",
)
CLOSERS = (*_ENDS, "}</tool_call>", "}\n</tool_call>")
"""What ends a call. A brace too many is the usual slip before the end."""
FUNCTIONS = ("<function=", "<tool=", "<function name=", "<invoke name=", "<tool_call name=", "<tool name=")
"""What a tool's name comes after."""
PARAMETERS = ("<parameter=", "<parameter name=", "<param=", "<param name=", "<arg=", "<arg name=")
"""What a parameter's name comes after."""
CHANNELS = (
    "<|channel|>commentary to=",
    "<|start|>assistant<|channel|>commentary to=",
    "<|start|>assistant to=",
    "<|start|>functions.",
)
MESSAGE = "<|message|>"
GLUE = ("[ARGS]", "[CALL_ID]", "<|tool_call_argument_begin|>", "<｜tool▁sep｜>", "```json\n")
"""What stands between a tool's name and its arguments."""
ARG_KEY, END_OF_ARG_KEY, ARG_VALUE, END_OF_ARG_VALUE = "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"

THOUGHTS = {"<think>": "</think>", "<thinking>": "</thinking>", "<thought>": "</thought>", "[THINK]": "[/THINK]"}
"""Where a model thinks aloud, and what ends it: it calls nothing there."""
LANGUAGES = frozenset({"", "json", "tool_call", "tool_calls", "tool_code", "tool_use", "function_call"})
"""What may stand behind a fence whose content is a call."""
CUES = (
    "for example",
    "for instance",
    "e.g.",
    "example:",
    "example call",
    "such as",
    "like this:",
    "looks like",
    "look like",
    "format:",
    "syntax:",
    "usage:",
    "schema:",
    "zum beispiel",
    "z.b.",
    "par exemple",
    "por ejemplo",
    "例如",
    "比如",
)
"""What says, on the line before, that a call is shown and not made."""
