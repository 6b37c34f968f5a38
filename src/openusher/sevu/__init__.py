"""The ScaleEngine API as Usher speaks it: bytes and text in, values out. Nothing here does I/O.

The way of a command: `form.read_form` finds the JSON text in the body, `command.read_command` reads it, the caller
looks the API key up, `command.verify` proves who sent it, `command.understand` turns its parameters into what is
asked; the answer is made by `tickets` or `attempts` and put on the wire by `envelope`. Whatever goes wrong on the way
is an error of ours, and `refusal.refusal_of` says with which code it is answered.
"""
