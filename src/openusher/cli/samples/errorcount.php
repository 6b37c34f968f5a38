<?php
// The sample of the page of sevu.errorcount, its URL changed and its quote mended. It needs the php-curl extension.
// Run against: usher demo --keep
$request = array(
    'command' => 'sevu.errorcount',
    'api_key' => 'APX4GKLM0RKQLSP2FBO1ROPKSSW47DZE',
    'timestamp' => time(),
    'cdn' => 158,
    'key' => 'mystream.53ffc996dd39d5.39102367', /* optional */
    'app' => 'demo-origin', /* optional */
    'video' => 'mystream', /* optional */
    'ip' => '192.168.0.0', /* optional */
    'pass' => 'unique_random_string_per_request', /* optional */
    'success' => 1, /* optional */
    'limit' => '25', /* optional */
    'seek' => '0', /* optional */
);

// Create request signature
$json_request = json_encode($request);
$sig = base64_encode(hash_hmac('sha256', $json_request, '8fc8c48da81e6a2a06a9556379bf798af508dc0792497c678b4c3532ba8b637f', true));
$request['signature'] = $sig;
$json_request = json_encode($request);

$ch = curl_init();
curl_setopt($ch, CURLOPT_URL, isset($argv[1]) ? $argv[1] : 'http://127.0.0.1:8088/stable/');
curl_setopt($ch, CURLOPT_POST, true);
curl_setopt($ch, CURLOPT_RETURNTRANSFER, true);
curl_setopt($ch, CURLOPT_HEADER, false);
curl_setopt($ch, CURLOPT_POSTFIELDS, array('json' => $json_request));

$response = curl_exec($ch);
if (!$response) {
    die('Failed to connect to the API');
}

// Decode the response as an associative array
$arrResponse = json_decode($response, true);
if ($arrResponse) {
    print_r($arrResponse);
} else {
    echo 'An error occurred processing your request:';
    print_r($response);
}
