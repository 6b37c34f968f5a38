#!/usr/bin/perl
# The Perl sample's way: members in a hash's order, UTF-8 and slashes as they are, the signature spliced in as text.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use Encode qw(decode);
use HTTP::Tiny;
use JSON::PP;

my ($url, $command, @pairs) = @ARGV;
my %request = (
    command   => $command,
    api_key   => $ENV{USHER_API_KEY},
    cdn       => $ENV{USHER_CDN} + 0,
    timestamp => time,
);
for my $pair (@pairs) {
    my ($name, $value) = split /=/, $pair, 2;
    $request{$name} = $value =~ /^[0-9]+$/ ? $value + 0 : decode('UTF-8', $value);
}
my $json = JSON::PP->new->utf8->encode(\%request);
my $signature = hmac_sha256_base64($json, $ENV{USHER_SECRET});
# Digest::SHA leaves the padding to its caller.
$signature .= '=' while length($signature) % 4;
$json =~ s/\}$/,"signature":"$signature"}/;

# Unlike LWP, HTTP::Tiny encodes the text itself.
my $answer = HTTP::Tiny->new->post_form($url, { json => decode('UTF-8', $json) });
if (!$answer->{success}) {
    print STDERR "HTTP $answer->{status}: the message is lost\n";
    exit 1;
}
my $reply = JSON::PP->new->utf8->decode($answer->{content});
if ($reply->{status} ne 'success') {
    print STDERR join("\n", $reply->{message}, map { $reply->{$_} // '' } qw(debug debug2)), "\n";
    exit 1;
}
print $answer->{content};
