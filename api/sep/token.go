package sep

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

// maxToken bounds a token, in bytes: ours have some 400.
const maxToken = 1 << 10

// issue makes the token of an accepted challenge.
func (s *Server) issue(ctx context.Context, a answer) (string, error) {
	now := s.Now().Truncate(time.Second)
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Issuer: s.cfg.Origin, Subject: a.account.String(),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(s.cfg.Token)), ID: a.hash.String()})
	input, err := token.SigningString()
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	sig, err := s.Tokens.Sign(ctx, []byte(input), "jwt/"+a.hash.String())
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	if !ed25519.Verify(s.cfg.TokenKey, []byte(input), sig) {
		return "", errors.New("token: the signature is not of the key that tokens are checked with")
	}
	return input + "." + token.EncodeSegment(sig), nil
}

// customer is the access of those who have a token.
func (s *Server) customer() web.Access {
	parser := s.parser()
	return web.NewAccess("customer token", func(r *http.Request) (web.Caller, error) {
		account, err := s.authenticate(parser, r.Header.Values("Authorization"))
		if err != nil {
			return web.Caller{}, fmt.Errorf("%w: %v", web.ErrUnauthenticated, err)
		}
		return web.Caller{Kind: "customer", Name: account.String()}, nil
	})
}

// parser accepts what issue makes and nothing else of the many things a JWT can be.
func (s *Server) parser() *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(s.cfg.Origin),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(s.Now),
	)
}

func (s *Server) authenticate(parser *jwt.Parser, headers []string) (protocol.AccountID, error) {
	if len(headers) != 1 {
		return protocol.AccountID{}, errors.New("need one Authorization header")
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return protocol.AccountID{}, errors.New("need a bearer token")
	}
	if len(token) > maxToken {
		return protocol.AccountID{}, fmt.Errorf("a token has at most %d bytes", maxToken)
	}
	var claims jwt.RegisteredClaims
	// There is one key. What a header says about keys, by id, address or value, is never looked at: it is refused.
	_, err := parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		if len(t.Header) != 2 || t.Header["typ"] != "JWT" {
			return nil, errors.New("a token's header holds alg and typ JWT only")
		}
		return s.cfg.TokenKey, nil
	})
	if err != nil {
		return protocol.AccountID{}, err
	}
	if claims.IssuedAt == nil || claims.ID == "" || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > MaxTokenLife {
		return protocol.AccountID{}, errors.New("a token has iat and jti and does not live for ever")
	}
	return protocol.ParseAccountID(claims.Subject)
}
