<?php
// FloSports' way: a Guzzle 3 request with one urlencoded form field, and a strict reading of the ticket that comes back.
// createTicket app video pass ip uses expires | status key | revoke key
list(, $url, $command) = $argv;
$params = array();
foreach (array_slice($argv, 3) as $pair) {
    list($name, $value) = explode('=', $pair, 2);
    $params[$name] = $name === 'uses' ? (int) $value : $value;
}
// A timestamp of the caller's own sits behind the command, the client's own comes last.
$set = array_intersect_key($params, array('timestamp' => true));
$params = array_diff_key($params, $set);
// Their service description lists the parameters by name, the account's first.
ksort($params);
$request = array(
    'api_key' => getenv('USHER_API_KEY'),
    'cdn' => (int) getenv('USHER_CDN'),
    'command' => $command,
) + array_map('intval', $set) + $params + array('timestamp' => time());
$request['signature'] = base64_encode(hash_hmac('sha256', json_encode($request), getenv('USHER_SECRET'), true));

$ch = curl_init($url);
curl_setopt_array($ch, array(
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_POSTFIELDS => http_build_query(array('json' => json_encode($request)), '', '&', PHP_QUERY_RFC3986),
));
$body = curl_exec($ch);
$http = curl_getinfo($ch, CURLINFO_HTTP_CODE);
if ($http < 200 || $http > 299) {
    fwrite(STDERR, "Guzzle throws: HTTP $http\n");
    exit(1);
}
$reply = json_decode($body, true);
if (!is_array($reply) || $reply['status'] !== 'success') {
    fwrite(STDERR, "the API says no: $body\n");
    exit(1);
}
if ($command === 'sevu.revoke') {
    echo json_encode(array('revoked' => true));
    exit(0);
}
// A new ticket stands under `ticket`, a status at the top level.
$ticket = $command === 'sevu.request' ? $reply['ticket'] : $reply;
foreach (array('active', 'app', 'created_date', 'ip', 'key', 'pass', 'used_date', 'uses', 'video') as $field) {
    if (!array_key_exists($field, $ticket)) {
        fwrite(STDERR, "no field $field\n");
        exit(1);
    }
}
function read_date($text)
{
    if ($text === '0000-00-00 00:00:00') {
        return null;
    }
    $date = DateTime::createFromFormat('Y-m-d H:i:s', $text, new DateTimeZone('UTC'));
    if ($date === false || DateTime::getLastErrors() && DateTime::getLastErrors()['warning_count']) {
        fwrite(STDERR, "cannot read the date $text\n");
        exit(1);
    }
    return $date->getTimestamp();
}
echo json_encode(array(
    'active' => (bool) $ticket['active'],
    'app' => $ticket['app'],
    'created' => read_date($ticket['created_date']),
    'ip' => $ticket['ip'],
    'key' => $ticket['key'],
    'key_is_valid' => preg_match('/^foo_*\.[a-f0-9]+\.\d+$/', $ticket['key']) === 1,
    'pass' => $ticket['pass'],
    'used' => read_date($ticket['used_date']),
    'uses' => (int) $ticket['uses'],
    'video' => $ticket['video'],
));
