<?php
// Reads a reply in the form of PHP's serialize() from stdin, prints it as JSON.
$reply = unserialize(stream_get_contents(STDIN), array('allowed_classes' => false));
if (!is_array($reply)) {
    exit(1);
}
echo json_encode($reply, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
