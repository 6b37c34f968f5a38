<?php
// The WordPress plugin's way: multipart by curl, the cdn a text as get_option() gives it, texts as shortcodes give them.
// Prints the query that it hangs on a video's URL, not encoded.
list(, $url, $command) = $argv;
$given = array();
foreach (array_slice($argv, 3) as $pair) {
    list($name, $value) = explode('=', $pair, 2);
    $given[$name] = $value;
}
$request = array(
    'api_key' => getenv('USHER_API_KEY'),
    'timestamp' => time(),
    'cdn' => getenv('USHER_CDN'),
    'command' => $command,
);
foreach (array('pass', 'ip', 'video', 'app', 'uses', 'expire') as $name) {
    if (isset($given[$name])) {
        $request[$name] = $given[$name];
    }
}
$text = json_encode($request);
$request['signature'] = base64_encode(hash_hmac('sha256', $text, getenv('USHER_SECRET'), true));

$ch = curl_init();
curl_setopt($ch, CURLOPT_URL, $url);
curl_setopt($ch, CURLOPT_POST, true);
curl_setopt($ch, CURLOPT_RETURNTRANSFER, true);
curl_setopt($ch, CURLOPT_SSL_VERIFYPEER, false);
curl_setopt($ch, CURLOPT_POSTFIELDS, array('json' => json_encode($request)));
$response = curl_exec($ch);
if (!$response) {
    die('Failed to connect to the API');
}
$reply = json_decode($response, true);
if (!$reply) {
    fwrite(STDERR, "not a reply: $response\n");
    exit(1);
}
if ($reply['status'] !== 'success') {
    fwrite(STDERR, $reply['message'] . "\n");
    exit(1);
}
echo 'key=' . $reply['ticket']['key'] . '&pass=' . $reply['ticket']['pass'];
